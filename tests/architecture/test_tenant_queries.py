"""The filter by tenant is written once, and a query that starts from the rows of all tenants says so.

A query about one tenant starts with `rows_of`, `update_of` or `delete_of` of the kernel. One over several tenants has
a name that ends with `_across_tenants`, or a row with its reason in `queries_across_tenants.csv`.
"""

import csv
from functools import cache
from pathlib import Path

import pytest
from source_files import module_sources
from table_mentions import schema
from tenant_queries import queries_without_a_tenant, tenant_filters

DECLARED = Path(__file__).with_name("queries_across_tenants.csv")
REASON_CHARACTERS_MIN = 40
SCHEMA = schema()
FILTER = "finpool.kernel.database.tenant_rows"
WITH_A_FILTER_OF_THEIR_OWN = {
    "finpool.billing.invoice.usage": "its sums over usage are SQL, which takes the filter from one constant",
    "finpool.billing.reconciliation.queries": "its comparisons are SQL, which takes the filter from one part",
    "finpool.metering.usage.repository": "its filter is on a union of records and adjustments, which is no table",
}


@cache
def rows() -> list[dict[str, str]]:
    with DECLARED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def places(module: str, source: str) -> set[tuple[str, str]]:
    """Return the queries of a module over all tenants whose names do not say so."""
    found = {(module, each.place) for each in queries_without_a_tenant(source, SCHEMA)}
    return {each for each in found if not each[1].endswith("_across_tenants") and module != FILTER}


def test_the_filter_by_tenant_is_written_once() -> None:
    counted = {module: len(tenant_filters(source, SCHEMA)) for module, source in module_sources().items()}
    once = dict.fromkeys([FILTER, *WITH_A_FILTER_OF_THEIR_OWN], 1)
    assert {module: count for module, count in counted.items() if count} == once, f"start with a function of {FILTER}"


def test_a_query_starts_from_one_tenants_rows_unless_it_is_declared() -> None:
    declared = {(row["module"], row["query"]) for row in rows()}
    found = {each for module, source in module_sources().items() for each in places(module, source)}
    assert found - declared == set(), f"start the query with a function of {FILTER}, or declare it in {DECLARED.name}"
    assert declared - found == set(), "these start from one tenant's rows now, or are gone"


def test_every_declared_query_stands_once_and_has_a_reason() -> None:
    declared = [(row["module"], row["query"]) for row in rows()]
    assert declared == sorted(set(declared))
    assert [row for row in rows() if len(row["why"]) < REASON_CHARACTERS_MIN] == []


@pytest.mark.parametrize(
    "line",
    [
        "select(Invoice).where(col(Invoice.invoice_id) == wanted)",
        "select(func.count()).select_from(Payment)",
        "update(Invoice).values(status='paid')",
        "session.get(Invoice, wanted)",
        "session.get_one(Invoice, wanted)",
        "session.query(Invoice)",
        "aliased(Invoice)",
        "text('SELECT 1 FROM invoice WHERE invoice_id = :invoice_id')",
        "text('SELECT 1 FROM posting WHERE account = :account')",
        "text(f'DELETE FROM payment WHERE {wanted}')",
    ],
)
def test_a_planted_query_over_all_tenants_is_found(line: str) -> None:
    module = "finpool.billing.invoice.repository"
    source = module_sources()[module]
    planted = f"{source}\nfrom sqlalchemy import update\nasync def planted(session, wanted):\n    return {line}\n"
    assert (module, "planted") in places(module, planted)
    named = planted.replace("def planted", "def planted_across_tenants")
    assert places(module, named) == places(module, source)


@pytest.mark.parametrize(
    "line",
    [
        "rows_of(tenant_id, Invoice).where(col(Invoice.tenant_id) == tenant_id)",
        "rows_of(tenant_id, Invoice).where(Invoice.tenant_id == tenant_id)",
        "rows_of(tenant_id, Invoice).filter_by(tenant_id=tenant_id)",
        "rows_of(tenant_id, Invoice).filter_by(**{'tenant_id': tenant_id})",
        "text('SELECT 1 FROM invoice WHERE tenant_id = :tenant_id')",
        "text('SELECT 1 FROM invoice WHERE tenant_id = ANY(:tenant_ids)')",
        "text(f'SELECT 1 FROM {table} AS i WHERE i.tenant_id = CAST(:tenant_id AS text)')",
    ],
)
def test_a_planted_filter_by_tenant_is_found(line: str) -> None:
    source = module_sources()["finpool.billing.invoice.repository"]
    planted = f"{source}\nasync def planted(session, tenant_id):\n    return {line}\n"
    assert len(tenant_filters(planted, SCHEMA)) == 1
