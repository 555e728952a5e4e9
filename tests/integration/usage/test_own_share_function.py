"""The database's side of a bank's own share: whose it is comes from the session, and nothing else of others is read."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from signed_context import acting

from finpool.installation.postgres import EmbeddedPostgres

START = datetime(2025, 3, 10, 12, 0, tzinfo=UTC)
HOUR = 3600
NUMBER = int(START.timestamp()) // HOUR
IN_THE_HOUR = (["model-x"], NUMBER, NUMBER + 1, HOUR)
FUNCTION = "own_service_by_window(text[], bigint, bigint, integer)"


@pytest.fixture
async def connection(
    clean_postgres: EmbeddedPostgres, used: Callable[..., Any], record: Callable[..., Any]
) -> AsyncIterator[Any]:
    """The tenants' role, connected, after both banks were served in one hour and bank B alone in the next."""
    of_a = used("bank-a", START, input_tokens=100, output_tokens=7, queue_ms=901)
    of_b = used("bank-b", START, input_tokens=4_000, output_tokens=3, queue_ms=8_901)
    await record([of_a, of_b, used("bank-b", START.replace(hour=13))])
    connected = await asyncpg.connect(clean_postgres.urls["tenant"])
    yield connected
    await connected.close()


@pytest.fixture
def for_bank_a(connection: Any, clean_postgres: EmbeddedPostgres) -> AbstractAsyncContextManager[None]:
    """A transaction of bank A's, as the tenants' door opens it."""
    return acting(connection, clean_postgres.urls["tenant"], "bank-a")


async def act_for(connection: Any, tenant_id: str) -> None:
    await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)


async def own_rows(connection: Any, *arguments: Any) -> list[dict[str, Any]]:
    rows = await connection.fetch("SELECT * FROM own_service_by_window($1, $2, $3, $4)", *arguments)
    return [dict(row) for row in rows]


@pytest.mark.parametrize("scope", ["", "sector"])
async def test_without_a_tenant_the_database_shows_nothing(connection: Any, scope: str) -> None:
    for tenant_id in (None, "", "bank-a"):
        if tenant_id is not None:
            await act_for(connection, tenant_id)
        await connection.execute("SELECT set_config('finpool.scope', $1, false)", scope)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no tenant is set"):
            await own_rows(connection, *IN_THE_HOUR)


async def test_the_database_hands_out_one_row_a_window_and_of_others_no_figure_but_the_whole(
    connection: Any, for_bank_a: AbstractAsyncContextManager[None]
) -> None:
    models, first, end, seconds = IN_THE_HOUR
    async with for_bank_a:
        (own,) = await own_rows(connection, models, first - 5, end + 5, seconds)
    assert own == {
        "number": NUMBER,
        "requests": 1,
        "service": 114,
        "service_of_all": 114 + 4_006,
        "service_weight": None,
        "service_share_min_basis_points": None,
        "service_weights_of_others": [None],
        "service_shares_min_basis_points_of_others": [None],
        "queue_ms_median": 901,
        "queue_ms_p95": 901,
        "queue_ms_max": 901,
    }


@pytest.mark.parametrize("seconds", [899, 901, 0, None, 86_401])
async def test_the_database_itself_refuses_shorter_windows(
    connection: Any, for_bank_a: AbstractAsyncContextManager[None], seconds: int | None
) -> None:
    models, first, end, _ = IN_THE_HOUR
    with pytest.raises(asyncpg.InvalidParameterValueError, match="quarters of an hour"):
        async with for_bank_a:
            await own_rows(connection, models, first, end, seconds)


async def test_after_the_call_the_session_is_as_narrow_as_before(
    connection: Any, for_bank_a: AbstractAsyncContextManager[None]
) -> None:
    async with for_bank_a:
        assert len(await own_rows(connection, *IN_THE_HOUR)) == 1
        assert not await connection.fetchval("SELECT current_setting('finpool.scope', true)")
        assert await connection.fetchval("SELECT count(*) FROM usage_record WHERE tenant_id <> 'bank-a'") == 0


@pytest.mark.parametrize("role", ["owner", "inference", "operator", "regulator", "worker", "pool"])
async def test_no_other_database_role_may_ask_in_a_tenants_name(clean_postgres: EmbeddedPostgres, role: str) -> None:
    other = await asyncpg.connect(clean_postgres.urls[role])
    try:
        await act_for(other, "bank-a")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await own_rows(other, *IN_THE_HOUR)
    finally:
        await other.close()


async def test_the_function_runs_as_a_role_that_nobody_is_and_that_only_reads_what_it_needs(
    connection: Any,
) -> None:
    role = await connection.fetchrow(
        "SELECT rolname, rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole AS too_much, prosecdef, proconfig"
        f" FROM pg_proc JOIN pg_roles r ON r.oid = proowner WHERE pg_proc.oid = '{FUNCTION}'::regprocedure"
    )
    members = await connection.fetchval(
        "SELECT count(*) FROM pg_auth_members WHERE roleid = 'finpool_share_reader'::regrole"
        " AND (inherit_option OR set_option)"
    )
    tables = await connection.fetch(
        "SELECT relname, has_any_column_privilege('finpool_share_reader', oid, 'INSERT, UPDATE')"
        " OR has_table_privilege('finpool_share_reader', oid, 'DELETE, TRUNCATE') AS writable"
        " FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace = 'public'::regnamespace"
        " AND has_any_column_privilege('finpool_share_reader', oid, 'SELECT, INSERT, UPDATE')"
    )
    assert dict(role) == {
        "rolname": "finpool_share_reader",
        "too_much": False,
        "prosecdef": True,
        "proconfig": ["search_path=pg_catalog, pg_temp"],
    }
    assert members == 0
    assert {row["relname"]: row["writable"] for row in tables} == {"usage_record": False, "contract": False}


async def test_a_tenant_cannot_call_what_returns_the_tenants_by_name(connection: Any) -> None:
    await act_for(connection, "bank-a")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await connection.fetch("SELECT * FROM service_by_window('{model-x}', now(), now(), 900)")
