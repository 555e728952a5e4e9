"""A table belongs to one domain: only its code writes there, and `foreign_tables.csv` names every other reader.

The owner of a table is the domain whose `models.py` declares it. Migrations are left out: they create and change the
tables of all domains. A foreign key is no read: the database follows it, and no code does.
"""

import csv
import re
from functools import cache
from pathlib import Path

import pytest
from source_files import PLATFORM, module_sources
from sql_text import HOLE
from table_mentions import Mention, changed_results, mentions, schema

DECLARED = Path(__file__).with_name("foreign_tables.csv")
REASON_CHARACTERS_MIN = 40
SCHEMA = schema()


@cache
def rows() -> list[dict[str, str]]:
    with DECLARED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def foreign_in(module: str, source: str) -> list[Mention]:
    """Return what a module names of other domains' tables, and names of tables that are not written out."""
    return [
        each
        for each in sorted(mentions(source, SCHEMA))
        if each.table == HOLE or SCHEMA.modules[each.table].split(".")[1] != module.split(".")[1]
    ]


def trespasses(module: str, source: str) -> list[str]:
    """Return each foreign table that a module writes, or reads without being declared."""
    declared = {(row["module"], row["table"]) for row in rows()}
    changed = [f"{module}:{line} changes what another domain returned" for line in changed_results(module, source)]
    return changed + [
        f"{module}:{each.line} {'writes' if each.written else 'reads'} {each.table}"
        for each in foreign_in(module, source)
        if each.written or each.table == HOLE or (module, each.table) not in declared
    ]


def test_every_table_that_a_migration_creates_belongs_to_a_domain() -> None:
    create = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)")
    migrations = (PLATFORM / "migrations" / "versions").glob("*.py")
    assert {name for path in migrations for name in create.findall(path.read_text())} == SCHEMA.modules.keys()


def test_a_domain_writes_only_its_own_tables_and_reads_others_only_as_declared() -> None:
    found = [each for module, source in module_sources().items() for each in trespasses(module, source)]
    assert found == [], f"call the service of the table's domain; a read model may be declared in {DECLARED.name}"


def test_every_declared_read_is_made_and_has_a_reason() -> None:
    made = {(module, each.table) for module, source in module_sources().items() for each in foreign_in(module, source)}
    declared = [(row["module"], row["table"]) for row in rows()]
    assert declared == sorted(set(declared))
    assert [each for each in declared if each not in made] == [], "nothing reads these any more"
    assert [row for row in rows() if len(row["why"]) < REASON_CHARACTERS_MIN] == []


def planted(module: str, lines: str) -> list[str]:
    """Return the trespasses of a module to which lines are added."""
    return trespasses(module, f"{module_sources()[module]}\n{lines}\n")


@pytest.mark.parametrize(
    ("statement", "trespass"),
    [
        ('"UPDATE account SET funded_picos = 0"', "writes account"),
        ('"update public.account set funded_picos = 0"', "writes account"),
        ('"INSERT INTO usage_adjustment (tenant_id) VALUES (:tenant_id)"', "writes usage_adjustment"),
        ('"DELETE " "FROM ONLY lease"', "writes lease"),
        ('"WITH one AS (SELECT 1) " + "DELETE FROM lease USING one"', "writes lease"),
        ('"TRUNCATE payment, budget"', "writes budget"),
        ('"LOCK TABLE tenant IN SHARE MODE"', "writes tenant"),
        ('"SELECT 1 FROM usage_record WHERE true FOR UPDATE"', "writes usage_record"),
        ('"SELECT 1 FROM tenant FOR NO KEY UPDATE"', "writes tenant"),
        ('f"SELECT 1 FROM invoice, project AS p WHERE {invoice}"', "reads project"),
        ('f"SELECT {1} FROM invoice LEFT JOIN (SELECT * FROM budget) AS b ON true"', "reads budget"),
        ('"SELECT sum(amount_picos) FROM posting"', "reads transfer"),
        ('"SELECT * FROM own_service_by_window(1)"', "reads usage_record"),
        ('"SELECT 1 FROM " + DECLARED', f"reads {HOLE}"),
        ('f"DELETE FROM {DECLARED}"', f"writes {HOLE}"),
        ('"SELECT 1 FROM {}".format(DECLARED)', f"reads {HOLE}"),
    ],
)
def test_a_planted_trespass_in_sql_is_found(statement: str, trespass: str) -> None:
    found = planted("finpool.billing.invoice.repository", f"_PLANTED = {statement}")
    assert any(each.endswith(f" {trespass}") for each in found), found


@pytest.mark.parametrize(
    ("lines", "trespass"),
    [
        ("from finpool.quota.models import Lease\nquery = select(Lease)", "reads lease"),
        ("from finpool.quota import models as of_quota\nquery = select(of_quota.Lease.lease_id)", "reads lease"),
        ("import finpool.quota.models\nquery = select(finpool.quota.models.Lease)", "reads lease"),
        ("from finpool.quota.models import Lease as Held\nquery = upsert(Held).values(x=1)", "writes lease"),
        ("from finpool.quota.models import Lease\nLease.__table__.insert()", "writes lease"),
        ("from finpool.quota.models import Lease\nsession.add(Lease(lease_id=''))", "writes lease"),
        ("from finpool.quota.models import Lease\nselect(Lease).with_for_update()", "writes lease"),
        ("from sqlalchemy import table\nquery = select(table('lease'))", "writes lease"),
        ("query = metadata.tables['lease'].select()", "writes lease"),
        ("from finpool.tenancy import service\nrow = await service.get_tenant(session, '')\nrow.name = ''", "returned"),
        (
            "from finpool.tenancy.service import get_tenant\nif row := await get_tenant(session): row.version += 1",
            "returned",
        ),
        (
            "from finpool.tenancy.service import get_tenant\nrow = await get_tenant()\nrow.sqlmodel_update({})",
            "returned",
        ),
        (
            "from finpool.tenancy import service\nfor row in await service.list_tenants():\n    row.name = ''",
            "returned",
        ),
        ("from finpool.tenancy import service\nrow, other = await service.get_tenant()\nrow.name = ''", "returned"),
        ("from finpool.tenancy import service\nrow = service.get_tenant()\nsetattr(row, 'name', '')", "returned"),
        ("from finpool.tenancy import service\nrow = await service.get_tenant()\nsession.delete(row)", "returned"),
    ],
)
def test_a_planted_trespass_through_the_class_of_a_row_is_found(lines: str, trespass: str) -> None:
    body = "\n    ".join(lines.splitlines())
    found = planted("finpool.billing.invoice.repository", f"async def planted(session):\n    {body}")
    assert any(each.endswith(f" {trespass}") for each in found), found


@pytest.mark.parametrize(
    "line",
    [
        '_FINE = "SELECT account FROM invoice WHERE kind IS DISTINCT FROM lease AND 1 < extract(day FROM budget)"',
        "_FINE = \"SELECT 'FROM lease' FROM invoice -- FROM budget\"",
        '_FINE = "INSERT INTO payment (tenant_id) VALUES (1) ON CONFLICT DO UPDATE SET tenant_id = 2"',
        '"""Words about an update of an account, taken from a lease."""',
    ],
)
def test_a_word_that_is_no_tables_name_is_not_taken_for_one(line: str) -> None:
    assert planted("finpool.billing.invoice.repository", line) == []
