"""Row-level security believes what a process has signed, and no session that says by itself for whom it acts."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from signed_context import acting, claim, signature_for
from sqlalchemy import text

from finpool.apps.migrate import LOGIN_ROLES, migrate
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings

Connection = asyncpg.Connection
BANK_A, BANK_B = TenantId("bank-a"), TenantId("bank-b")
SEEN = "SELECT tenant_id FROM tenant ORDER BY tenant_id"
READERS = [role for role in LOGIN_ROLES if role != "pool"]


@pytest.fixture
async def owner(clean_postgres: EmbeddedPostgres) -> AsyncIterator[Connection]:
    """The schema's owner, after it made two banks."""
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    for tenant_id in (BANK_A, BANK_B):
        await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)
        await connection.execute("INSERT INTO tenant VALUES ($1, $1, 'active', '{*}', 1, now())", tenant_id)
    yield connection
    await connection.close()


@pytest.fixture
async def connect(owner: Connection, clean_postgres: EmbeddedPostgres) -> AsyncIterator[Callable[[str], Any]]:
    """Open a bare connection of a role."""
    opened: list[Connection] = []

    async def connected(role: str) -> Connection:
        opened.append(await asyncpg.connect(clean_postgres.urls[role]))
        return opened[-1]

    yield connected
    for each in opened:
        await each.close()


async def seen(connection: Connection) -> list[str]:
    return [row["tenant_id"] for row in await connection.fetch(SEEN)]


@pytest.mark.parametrize("role", READERS)
async def test_a_session_that_sets_its_tenant_by_itself_sees_nothing(connect: Any, role: str) -> None:
    connection = await connect(role)
    assert await seen(connection) == []
    for signature in ("", "0" * 64, "no digits", "0" * 10_000):
        for tenant_id, scope in ((BANK_A, ""), ("", "sector"), (BANK_A, "sector")):
            async with connection.transaction():
                await claim(connection, tenant_id, scope, signature)
                assert await seen(connection) == []


@pytest.mark.parametrize("role", READERS)
async def test_a_signed_context_shows_its_tenant_alone(
    database: Callable[[str], Database], connect: Any, role: str
) -> None:
    async with database(role).for_tenant(BANK_A) as session:
        assert list((await session.execute(text(SEEN))).scalars()) == [BANK_A]
    async with database(role).across_tenants() as session:
        whole = [] if role == "tenant" else [BANK_A, BANK_B]
        assert list((await session.execute(text(SEEN))).scalars()) == whole


async def test_sql_that_got_into_a_tenants_transaction_stays_with_the_tenant(
    database: Callable[[str], Database], owner: Connection
) -> None:
    others = (
        "set_config('finpool.tenant_id', 'bank-b', true)",
        "set_config('finpool.scope', 'sector', true)",
        "set_config('finpool.signature', '', true)",
    )
    for role in READERS:
        for other in others:
            injected = f"SELECT tenant_id FROM tenant WHERE tenant_id = '' OR (SELECT {other}) IS NOT NULL"
            async with database(role).for_tenant(BANK_A) as session:
                assert set((await session.execute(text(injected))).scalars()) <= {BANK_A}
                assert set((await session.execute(text(SEEN))).scalars()) <= {BANK_A}


async def test_a_signature_holds_in_its_transaction_only(connect: Any, clean_postgres: EmbeddedPostgres) -> None:
    url = clean_postgres.urls["tenant"]
    first, second = await connect("tenant"), await connect("tenant")
    async with first.transaction(), second.transaction():
        signature = await signature_for(first, url, "tenant:bank-b")
        await claim(second, BANK_B, "", signature)
        assert await seen(second) == [], "another session"
        await claim(first, BANK_A, "", signature)
        assert await seen(first) == [], "another tenant"
        await claim(first, "", "sector", signature)
        assert await seen(first) == [], "the sector"
        await claim(first, BANK_B, "", signature)
        assert await seen(first) == [BANK_B]
    async with first.transaction():
        await claim(first, BANK_B, "", signature)
        assert await seen(first) == [], "the next transaction of the same session"


async def test_a_context_that_was_left_in_a_pooled_session_is_worth_nothing(
    owner: Connection, clean_postgres: EmbeddedPostgres
) -> None:
    database = Database(clean_postgres.urls["tenant"], connections_max=1)
    try:
        async with database.for_tenant(BANK_B) as session:
            for name in ("tenant_id", "scope", "signature"):
                keep = f"SELECT set_config('finpool.{name}', current_setting('finpool.{name}'), false)"
                await session.execute(text(keep))
            assert list((await session.execute(text(SEEN))).scalars()) == [BANK_B]
        async with database.engine.connect() as left:
            assert (await left.execute(text("SELECT current_setting('finpool.tenant_id')"))).scalar_one() == BANK_B
            assert list((await left.execute(text(SEEN))).scalars()) == []
        async with database.for_tenant(BANK_A) as session:
            assert list((await session.execute(text(SEEN))).scalars()) == [BANK_A]
    finally:
        await database.close()


async def test_a_signature_of_one_role_is_worth_nothing_to_another(
    connect: Any, clean_postgres: EmbeddedPostgres
) -> None:
    connection = await connect("operator")
    async with connection.transaction():
        await claim(connection, "", "sector", await signature_for(connection, clean_postgres.urls["worker"], "sector"))
        assert await seen(connection) == []


async def test_no_login_role_reads_the_keys_or_asks_whether_a_signature_is_right(connect: Any) -> None:
    for role in LOGIN_ROLES:
        connection = await connect(role)
        for query in ("SELECT inner_pad FROM context_key", "SELECT context_is_signed('tenant:bank-b')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(query)


@pytest.fixture
async def other_password(settings: Settings, clean_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of the tenants' role with another password; afterwards its own one is valid again."""
    url = clean_postgres.urls["tenant"]
    yield url.replace(url.split(":")[2].split("@")[0], "other" * 10)
    await asyncio.to_thread(migrate, settings)


async def test_a_role_that_changes_its_own_password_signs_nothing_with_it(
    connect: Any, clean_postgres: EmbeddedPostgres, other_password: str
) -> None:
    connection, taken = await connect("tenant"), Database(other_password, connections_max=1)
    await connection.execute(f"ALTER ROLE finpool_tenant PASSWORD '{'other' * 10}'")
    try:
        with pytest.raises(ConfigurationError, match="finpool migrate"):
            async with taken.for_tenant(BANK_A):
                pass
        async with acting(connection, clean_postgres.urls["tenant"], BANK_A):
            assert await seen(connection) == [BANK_A]
    finally:
        await taken.close()


async def test_after_a_migration_with_another_password_the_one_of_before_signs_for_an_hour(
    connect: Any, clean_postgres: EmbeddedPostgres, settings: Settings, other_password: str, owner: Connection
) -> None:
    before, url = await connect("tenant"), clean_postgres.urls["tenant"]
    await asyncio.to_thread(migrate, settings.model_copy(update={"tenant_database_url": SecretStr(other_password)}))
    after = Database(other_password, connections_max=1)
    try:
        async with after.for_tenant(BANK_A) as session:
            assert list((await session.execute(text(SEEN))).scalars()) == [BANK_A]
    finally:
        await after.close()
    async with acting(before, url, BANK_A):
        assert await seen(before) == [BANK_A]
    hour = "UPDATE context_key SET valid_until = valid_until - interval '1 hour' WHERE role = 'finpool_tenant'"
    await owner.execute(hour)
    async with acting(before, url, BANK_A):
        assert await seen(before) == []


async def test_a_query_verifies_its_context_once_and_finds_its_rows_by_their_index(
    connect: Any, clean_postgres: EmbeddedPostgres
) -> None:
    connection = await connect("tenant")
    async with acting(connection, clean_postgres.urls["tenant"], BANK_A):
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.fetch("EXPLAIN (ANALYZE, TIMING OFF) SELECT cost_picos FROM usage_record")
    plan = "\n".join(row[0] for row in rows)
    assert re.search(r"Index Cond: \(tenant_id = \(InitPlan 1\)", plan), plan
    assert re.search(r"InitPlan 1\n\s+->  Result .*loops=1\)", plan), plan
