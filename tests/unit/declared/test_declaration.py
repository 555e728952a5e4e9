"""Declared tenants load whole or not at all, and every fault of every file is named at once."""

import re
import shutil
from pathlib import Path

import pytest

from finpool.client.errors import DeclarationsInvalid
from finpool.declared.declaration import DeclaredTenant, LimitSubject, load_declarations
from finpool.quota.schemas import Limits, Scope

TENANTS = Path(__file__).parents[3] / "tenants"

GOOD = """
id: bank-c
name: Bank C 银行
models: [b-model, a-model]
projects:
  - {id: one, name: One}
limits: {budget_month_micros: 5, concurrency: 2}
"""
SCOPED = """
scoped_limits:
  - {scope: project, id: one, budget_day_micros: 3, soft_thresholds_percent: [90, 50]}
  - {scope: key, id: key_1, requests_per_minute: 0}
  - {scope: model, id: a-model, tokens_per_minute: null}
"""


TENANT = LimitSubject(Scope.TENANT, "bank-c")
LIMITS = Limits(budget_month_micros=5, concurrency=2)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of tenants with the real schema and no tenant."""
    shutil.copytree(TENANTS / "_schema", tmp_path / "_schema")
    return tmp_path


def declare(directory: Path, tenant_id: str, text: str) -> None:
    (directory / tenant_id).mkdir()
    (directory / tenant_id / "tenant.yaml").write_text(text, encoding="utf-8")


def test_the_demo_banks_are_declared() -> None:
    assert [tenant.id for tenant in load_declarations(TENANTS)] == ["bank-a", "bank-b"]


def test_the_template_becomes_a_tenant_by_copying_it(directory: Path) -> None:
    declare(directory, "template", (TENANTS / "_template" / "tenant.yaml").read_text(encoding="utf-8"))
    assert [tenant.id for tenant in load_declarations(directory)] == ["template"]


def test_a_declaration_is_read_as_it_is_written(directory: Path) -> None:
    declare(directory, "bank-c", GOOD)
    assert load_declarations(directory) == [
        DeclaredTenant("bank-c", "Bank C 银行", ("a-model", "b-model"), {"one": "One"}, {TENANT: LIMITS})
    ]


def test_limits_of_parts_are_read_beside_those_of_the_tenant(directory: Path) -> None:
    declare(directory, "bank-c", GOOD + SCOPED)
    (tenant,) = load_declarations(directory)
    assert tenant.limits == {
        TENANT: LIMITS,
        LimitSubject(Scope.PROJECT, "one"): Limits(budget_day_micros=3, soft_thresholds_percent=[50, 90]),
        LimitSubject(Scope.KEY, "key_1"): Limits(requests_per_minute=0),
        LimitSubject(Scope.MODEL, "a-model"): Limits(),
    }


def test_a_whole_number_with_a_point_is_a_whole_number(directory: Path) -> None:
    text = GOOD.replace("budget_month_micros: 5", "budget_month_micros: 5.0, soft_thresholds_percent: [80.0]")
    declare(directory, "bank-c", text)
    (tenant,) = load_declarations(directory)
    assert tenant.limits[TENANT] == LIMITS.model_copy(update={"soft_thresholds_percent": [80]})


def test_all_faults_of_all_files_are_named_with_file_and_field(directory: Path) -> None:
    declare(directory, "bank-c", GOOD.replace("micros: 5", "micros: -5").replace("bank-c", "Bank_C"))
    declare(directory, "bank-d", GOOD)
    declare(directory, "bank-e", "id: [")
    with pytest.raises(DeclarationsInvalid) as caught:
        load_declarations(directory)
    faults = "\n".join(caught.value.faults)
    assert "bank-c/tenant.yaml: id: 'Bank_C' does not match" in faults
    assert "bank-c/tenant.yaml: limits.budget_month_micros: -5 is less than the minimum of 0" in faults
    assert "bank-d/tenant.yaml: id: 'bank-c' must equal the folder's name 'bank-d'" in faults
    assert "bank-e/tenant.yaml: not valid YAML" in faults


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("concurrency: 2", "concurrency: 2, colour: red"), "'colour' was unexpected"),
        (("{budget_month_micros: 5, concurrency: 2}", "{concurrency: 2}"), "the tenant may spend nothing"),
        (("micros: 5", "micros: null"), "the tenant may spend nothing"),
        (("micros: 5", "micros: 5.5"), "5.5 is not of type 'integer'"),
        (("micros: 5", "micros: true"), "True is not of type 'integer'"),
        (("concurrency: 2", "soft_thresholds_percent: [101]"), "101 is greater than the maximum"),
        (("name: Bank C 银行", "name: ' Bank C'"), "does not match"),
        (("[b-model, a-model]", "['*', a-model]"), "must stand alone"),
        (("- {id: one, name: One}", "- {id: one, name: One}\n  - {id: one, name: Two}"), "'one' is declared twice"),
        (("name: Bank C 银行", "name: A\nname: B"), "'name' is given twice"),
    ],
)
def test_a_wrong_declaration_is_refused(directory: Path, change: tuple[str, str], expected: str) -> None:
    declare(directory, "bank-c", GOOD.replace(*change))
    with pytest.raises(DeclarationsInvalid, match=expected.replace("*", r"\*")):
        load_declarations(directory)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("id: key_1", "id: 'key 1'"), "'key 1' does not match"),
        (("scope: key", "scope: tenant"), "'tenant' is not one of"),
        (("scope: key", "scope: use_case"), "'use_case' is not one of"),
        (("requests_per_minute: 0", "requests: 0"), "'requests' was unexpected"),
        (("id: one", "id: two"), "scoped_limits[0].id: 'two' is not among the declared projects"),
        (("id: a-model", "id: c-model"), "scoped_limits[2].id: 'c-model' is not among the declared models"),
        (("{scope: key, id: key_1", "{scope: project, id: one"), "scoped_limits[1]: project 'one' is declared twice"),
    ],
)
def test_a_wrong_limit_of_a_part_is_refused(directory: Path, change: tuple[str, str], expected: str) -> None:
    declare(directory, "bank-c", GOOD + SCOPED.replace(*change))
    with pytest.raises(DeclarationsInvalid, match=re.escape(expected)):
        load_declarations(directory)


def test_a_directory_without_tenants_is_refused(directory: Path) -> None:
    with pytest.raises(DeclarationsInvalid, match="no tenant is declared here"):
        load_declarations(directory)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationsInvalid, match=r"is .* a directory of tenants"):
        load_declarations(tmp_path)
