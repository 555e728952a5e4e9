"""The FOCUS export of real invoices, judged by the official validator."""

import csv
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from finpool.billing.document.schemas import FocusFormat
from finpool.billing.focus.rows import AMOUNT_COLUMNS
from finpool.catalogue.price.models import PriceSchedule
from finpool.catalogue.price.repository import add_schedule, add_versions
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId

ROOT = Path(__file__).parents[4]
APPLICABLE = (
    "ACCOUNT_NAMING_SUPPORTED,NEGOTIATED_PRICING_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,"
    "USAGE_MEASUREMENT_SUPPORTED,UNIT_PRICING_SUPPORTED,SUB_ACCOUNT_SUPPORTED"
)
"""What of the specification's optional parts this platform has."""

CONTRADICTIONS = {
    # Its condition, "when the charge is not associated with an invoice", is not in the rules' machine-readable form.
    # The rule after it demands the opposite of every row.
    "InvoiceId-C-004-C",
    # It is for purchases that cover future charges; that condition is not in the machine-readable form either.
    "EffectiveCost-C-005-C",
}
"""Rules that the validator's own rule file states without their condition: rows that are right fail them."""

FAILED = re.compile(r"([A-Za-z]+-[A-Z]-\d+-[A-Z]): FAIL\s+\(violations=\d+, msg=(.*?)(?:, [\d.]+ms)?\)$", re.MULTILINE)
RULES_DIRECTORY = "FINPOOL_TEST_FOCUS_RULES"
NOT_DONE = (
    f"FOCUS 1.3's own rule file: the validator's package holds that of 1.2 only; set {RULES_DIRECTORY} to a directory"
    " with model-1.3*.json to check by that, too"
)
Judge = Callable[..., dict[str, str]]


def python_for_the_validator() -> str | None:
    """Return a Python 3.12: the validator takes none before, and its numpy none after."""
    # A version manager keeps the other Pythons beside this one, in any home.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    beside = [
        str(each) for place in (pyenv, Path(sys.base_prefix).parent) for each in place.glob("3.12.*/bin/python3.12")
    ]
    found = [shutil.which("python3.12"), sys.executable, *sorted(beside)]
    for python in filter(None, found):
        asked = [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 12))"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return python
    return None


@pytest.fixture(scope="session")
def validator() -> Path | None:
    """The official validator as it is locked, in an environment of its own; None without a Python for it."""
    python = python_for_the_validator()
    if python is None:
        return None
    lock = ROOT / "requirements" / "focus.txt"
    environment = Path(sys.prefix) / "focus-validator"
    stamp, wanted = environment / "stamp", hashlib.sha256(lock.read_bytes()).hexdigest()
    with (Path(sys.prefix) / "focus-validator.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            uv, builds = str(Path(sys.prefix) / "bin" / "uv"), str(ROOT / "requirements" / "focus-build.txt")
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, environment], check=True)
            inside = ["--quiet", "--python", str(environment / "bin" / "python")]
            locked = ["--require-hashes", "--build-constraints", builds, str(lock)]
            subprocess.run([uv, "pip", "sync", *inside, *locked], check=True)
            stamp.write_text(wanted)
    return environment / "bin" / "focus-validator"


@pytest.fixture
def judge(validator: Path | None, tmp_path: Path, record_property: Any) -> Judge:
    """Judge a file; returns the rules that failed, and why, besides the contradictions."""

    def judged(content: bytes, form: FocusFormat) -> dict[str, str]:
        if validator is None:
            record_property("not_done_here", "FOCUS: the official validator did not run, it needs Python 3.12")
            pytest.skip("no Python 3.12 for the official validator of FOCUS")
        file = tmp_path / f"export.{form}"
        file.write_bytes(content)
        failed = run(validator, file, "1.2")
        if RULES_DIRECTORY in os.environ:
            failed |= run(validator, file, "1.3", "--rule-set-path", os.environ[RULES_DIRECTORY])
        else:
            record_property("not_done_here", NOT_DONE)
        return {rule: why for rule, why in failed.items() if rule not in CONTRADICTIONS}

    return judged


def run(validator: Path, file: Path, version: str, *options: str) -> dict[str, str]:
    command = [str(validator), "--data-file", str(file), "--validate-version", version, "--block-download", *options]
    # Its table of currencies is looked up beside the directory that it runs in.
    packages = next(validator.parents[1].glob("lib/python*/site-packages"))
    done = subprocess.run(
        [*command, "--applicability-criteria", APPLICABLE], cwd=packages, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    summary = re.search(r"Total: (\d+) \| Pass: (\d+) \| Fail: (\d+)", done.stdout)
    assert summary is not None, done.stdout[-2000:]
    assert int(summary[2]) > 200, summary[0]
    failed = dict(FAILED.findall(done.stdout))
    assert len(failed) == int(summary[3]), done.stdout[-4000:]
    return failed


async def test_an_export_with_every_kind_of_charge_passes_the_official_validator(world: Any, judge: Judge) -> None:
    documents = await world.bill_everything()
    exported = await world.file(FocusFormat.CSV)
    rows = list(csv.DictReader(io.StringIO(exported.decode())))
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Purchase", "Tax", "Credit"}
    assert {row["ChargeClass"] for row in rows} == {"", "Correction"}
    billed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        billed[row["InvoiceId"]] += Decimal(row["BilledCost"])
    assert billed == {each.number: Decimal(each.total_micros).scaleb(-6) for each in documents}
    assert judge(exported, FocusFormat.CSV) == {}


async def test_parquet_says_the_same_as_csv_and_passes_but_for_names_that_are_not_ascii(
    world: Any, judge: Judge
) -> None:
    bank = TenantId("bank-c")
    await world.add_bank(bank, "上海浦江银行股份有限公司")
    await world.agree(bank)
    await world.serve([(1_234_567, 1_000, 765_432)], tenant_id=bank)
    await world.invoice(tenant_id=bank)
    content = await world.file(FocusFormat.PARQUET, bank)
    table = parquet.read_table(io.BytesIO(content))
    assert {table.schema.field(name).type for name in AMOUNT_COLUMNS} == {pa.decimal128(38, 12)}
    text = list(csv.DictReader(io.StringIO((await world.file(FocusFormat.CSV, bank)).decode())))
    for row, same in zip(table.to_pylist(), text, strict=True):
        assert {name: row[name] for name in AMOUNT_COLUMNS if row[name] is not None} == {
            name: Decimal(same[name]) for name in AMOUNT_COLUMNS if same[name]
        }
        assert row["BillingAccountName"] == same["BillingAccountName"] == "上海浦江银行股份有限公司"
    # The specification asks for valid Unicode; the validator takes ASCII only.
    failed = judge(content, FocusFormat.PARQUET)
    assert set(failed) == {"BillingAccountName-C-000-M", "BillingAccountName-C-002-M"}
    assert "ASCII" in failed["BillingAccountName-C-002-M"]


async def test_a_discount_shows_between_the_list_price_and_the_contracted_price(world: Any) -> None:
    listed = world.price
    async with world.open_as("operator").across_tenants() as session:
        await add_versions(session, [listed])
        moment = now()
        row = PriceSchedule(
            model_id=listed.model_id,
            tier="standard",
            price_version=listed.price_version,
            valid_from=moment,
            created_at=moment,
            created_by="test",
        )
        await add_schedule(session, row)
    await world.agree(discount_basis_points=1_000)
    world.price = listed.discounted(1_000)
    await world.serve([(1_000_000, 0, 0)])
    await world.invoice()
    rows = csv.DictReader(io.StringIO((await world.file(FocusFormat.CSV)).decode()))
    (usage,) = (row for row in rows if row["ChargeCategory"] == "Usage")
    prices = {name: Decimal(usage[name]) for name in ("ListUnitPrice", "ListCost", "ContractedUnitPrice", "BilledCost")}
    expected = {"ListUnitPrice": "2", "ListCost": "2", "ContractedUnitPrice": "1.8", "BilledCost": "1.8"}
    assert prices == {name: Decimal(value) for name, value in expected.items()}


async def test_the_validator_finds_planted_faults(world: Any, judge: Judge) -> None:
    await world.serve([(1_234_567, 1_000, 765_432)])
    await world.invoice()
    exported = (await world.file(FocusFormat.CSV)).decode()
    wrong = exported.replace("Usage,", "Usge,", 1).replace("Input Tokens,", ",", 1).replace("CNY", "yuan")
    failed = set(judge(wrong.encode(), FocusFormat.CSV))
    assert {"ConsumedQuantity-C-004-C", "BillingCurrency-C-003-M", "SkuMeter-C-005-C"} <= failed, failed
