"""Filters of a bank's audit trail read the entries that they show, not the bank's whole log."""

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from finpool.audit import service
from finpool.audit.errors import SearchTooBroad
from finpool.audit.schemas import TrailQuery
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

BANK = TenantId("bank-a")
ENTRIES = 20_000
FIRST_SECOND = 1_735_689_600
FILL = text("""
    INSERT INTO audit_entry (seq, tenant_id, entry, previous, hash)
    SELECT n, :tenant_id, jsonb_build_object(
            'body', jsonb_build_object('request_id', 'req_' || n, 'project_id', 'main')
                || CASE n WHEN 5 THEN '{"project_id": "loans"}'::jsonb ELSE '{}'::jsonb END
                || CASE n WHEN 7 THEN '{"actor": {"credential_id": "token_1"}}'::jsonb ELSE '{}'::jsonb END
                || CASE n WHEN 9 THEN '{"project_id": null, "scope": "project", "scope_id": "leasing"}'::jsonb
                   ELSE '{}'::jsonb END,
            'kind', CASE n WHEN 3 THEN 'key.revoked' ELSE 'usage.recorded' END,
            'occurred_at', to_char(to_timestamp(:begins + n) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'seq', n, 'tenant_id', CAST(:tenant_id AS text)
        )::text, sha256('previous'), sha256(CAST(n::text AS bytea))
    FROM generate_series(0, :last) n
""")
FOUND: dict[str, tuple[dict[str, Any], list[int]]] = {
    "a type": ({"event_types": ["api_key.deleted"]}, [3]),
    "a kind": ({"event_types": ["key.revoked"]}, [3]),
    "a type without events": ({"event_types": ["api_key.created"]}, []),
    "an actor": ({"actor_ids": ["token_1"]}, [7]),
    "an unknown actor": ({"actor_ids": ["token_2"]}, []),
    "a project": ({"project_ids": ["loans", "leasing"]}, [9, 5]),
    "an unknown project": ({"project_ids": ["nothing"]}, []),
    "a time": ({"effective_at[gte]": FIRST_SECOND + 40, "effective_at[lt]": FIRST_SECOND + 42}, [41, 40]),
    "the future": ({"effective_at[gt]": 99_999_999_999}, []),
    "all together": (
        {"event_types": ["organization.updated"], "actor_ids": ["token_1"], "effective_at[lte]": FIRST_SECOND + 7},
        [7],
    ),
}


@pytest.fixture
async def long_trail(clean_postgres: EmbeddedPostgres, database: Callable[[str], Database]) -> None:
    """Bank A has twenty thousand entries, few of which are not like the others."""
    async with database("worker").across_tenants() as session:
        await session.execute(FILL, {"tenant_id": BANK, "begins": FIRST_SECOND, "last": ENTRIES - 1})
    owner = await asyncpg.connect(clean_postgres.urls["owner"])
    await owner.execute("ANALYZE audit_entry")
    await owner.close()


def rows_read(plan: dict[str, Any]) -> Iterator[int]:
    """Yield the number of rows that each scan of a plan read, shown or not."""
    if "Scan" in plan["Node Type"] and "Plans" not in plan:
        yield int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    for inner in plan.get("Plans", ()):
        yield from rows_read(inner)


async def read_for(database: Database, query: TrailQuery, shown: list[int]) -> int:
    """Return the number of entries that the last statement of a page read; the page shows entries by their number."""
    sent: list[tuple[str, Any]] = []

    def keep(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "audit_entry" in statement and "audit_quarantine" not in statement:
            sent.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", keep)
    async with database.for_tenant(BANK) as session:
        page = await service.trail(session, BANK, query, 60)
        assert [each.details["request_id"] for each in page.data] == [f"req_{number}" for number in shown]
        statement, parameters = sent[-1]
        connection = await session.connection()
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        ((plans,),) = explained.all()
    return sum(rows_read(plans[0]["Plan"]))


@pytest.mark.parametrize(("filters", "shown"), FOUND.values(), ids=FOUND.keys())
async def test_a_filter_reads_few_entries_more_than_it_shows(
    long_trail: None, database: Callable[[str], Database], filters: dict[str, Any], shown: list[int]
) -> None:
    assert await read_for(database("tenant"), TrailQuery.model_validate(filters), shown) < 100


async def test_an_old_page_does_not_read_what_is_newer(long_trail: None, database: Callable[[str], Database]) -> None:
    query = TrailQuery.model_validate({"effective_at[lt]": FIRST_SECOND + ENTRIES // 2, "limit": 2})
    ten_minutes = 600
    assert await read_for(database("tenant"), query, [9_999, 9_998]) < ten_minutes + 100


async def test_a_search_for_ids_reads_a_bounded_part_of_the_log(
    long_trail: None, database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finpool.audit.repository.SEARCHED_ENTRIES_MAX", 1_000)
    newest = TrailQuery(resource_ids=["req_19990", "req_5"])
    assert await read_for(database("tenant"), newest, [19_990]) < 1_100
    async with database("tenant").for_tenant(BANK) as session:
        first = await service.trail(session, BANK, newest, 60)
        assert first.has_more, "entries remain that were not searched"
        with pytest.raises(SearchTooBroad, match="next 1000 entries"):
            await service.trail(session, BANK, newest.model_copy(update={"after": first.last_id}), 60)
        old = {"effective_at[lt]": FIRST_SECOND + 100, "resource_ids": ["req_19990", "req_5"]}
        narrowed = await service.trail(session, BANK, TrailQuery.model_validate(old), 60)
    assert [each.details["request_id"] for each in narrowed.data] == ["req_5"]
    assert not narrowed.has_more
