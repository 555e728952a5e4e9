"""No database role keeps others waiting for long: bounded waits, bounded transactions, and no locks on whole tables."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from signed_context import SignedConnection, acting
from waiting import until

from finpool.apps.migrate import LOGIN_ROLES, migrate
from finpool.apps.role_timeouts import settings_of
from finpool.audit.sequencer import Sequencer
from finpool.audit.service import append, entries
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.database.locks import LockName, try_lock
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings
from finpool.quota.limit.directory import LimitDirectory

OpenDatabase = Callable[[str], Database]
BANK = TenantId("bank-a")

DELETED_BY = {
    "inference": {"gateway_share", "gateway_slots", "idempotent_request", "rate_share", "replica_run"},
    "operator": {"invoice_line"},
    "pool": {"pool_node"},
    "worker": {"audit_outbox", "idempotent_request"},
}
"""Who deletes a row may lock its table; each of these tables holds up the work of that role only."""

LOCKABLE = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND has_table_privilege($1, oid, 'UPDATE, DELETE, TRUNCATE, MAINTAIN')
"""


@pytest.fixture
async def owner(database: OpenDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await database("owner").connect()
    await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    await connection.execute("INSERT INTO tenant VALUES ('bank-a', 'A', 'active', '{*}', 1, now())")
    await connection.execute("INSERT INTO account (tenant_id, updated_at) VALUES ('bank-a', now())")
    yield connection
    await connection.close()


@pytest.fixture
async def attacker(clean_postgres: EmbeddedPostgres) -> AsyncIterator[SignedConnection]:
    """A connection of the tenants' role, in the name of bank A."""
    connection = await SignedConnection.opened(clean_postgres.urls["tenant"], BANK)
    yield connection
    await connection.close()


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_each_role_bounds_its_waits_statements_and_open_transactions(database: OpenDatabase, role: str) -> None:
    connection = await database(role).connect()
    try:
        for name, value in settings_of(role).items():
            found = await connection.fetchval(f"SELECT current_setting('{name}')::interval = '{value}'::interval")
            assert found, name
    finally:
        await connection.close()


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_a_role_can_lock_no_table_but_those_it_deletes_from(database: OpenDatabase, role: str) -> None:
    owner = await database("owner").connect()
    lockable = {row["relname"] for row in await owner.fetch(LOCKABLE, f"finpool_{role}")}
    await owner.close()
    assert lockable == DELETED_BY.get(role, set())


@pytest.mark.parametrize("role", ["tenant", "operator", "regulator", "inference", "pool"])
async def test_no_door_can_lock_the_tables_of_the_log(database: OpenDatabase, role: str) -> None:
    connection = await database(role).connect()
    try:
        for table in ("audit_outbox", "audit_entry", "audit_quarantine"):
            for mode in ("SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")
                await connection.execute("ROLLBACK")
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["tenant", "operator", "regulator"])
async def test_an_open_transaction_of_a_door_keeps_no_event_from_the_log(
    database: OpenDatabase, clean_postgres: EmbeddedPostgres, role: str
) -> None:
    url = clean_postgres.urls[role]
    holder = await asyncpg.connect(url)
    try:
        async with acting(holder, url, BANK):
            await holder.execute("SELECT pg_advisory_lock(hashtext('finpool.audit.sequencer'))")
            await holder.execute(
                "INSERT INTO audit_outbox (tenant_id, occurred_at, kind, body)"
                " VALUES ('bank-a', now(), 'test.event', '{}')"
            )
            async with database("operator").across_tenants() as session:
                await append(session, kind="test.event", tenant_id=TenantId("bank-b"), actor=None, body={})
            assert await asyncio.wait_for(Sequencer(database("worker")).run_once(), 5) == 1
            async with database("regulator").across_tenants() as session:
                assert [each.tenant_id for each in (await entries(session, after=None, limit=9)).entries] == ["bank-b"]
    finally:
        await holder.close()


async def test_a_worker_that_is_gone_loses_its_lock(database: OpenDatabase) -> None:
    """The end comes from the server, so it needs no sign of the client; the role's own bound is only shorter here."""
    gone = await database("worker").connect()
    await gone.execute("SET idle_in_transaction_session_timeout = '100ms'")
    await gone.execute("BEGIN; SELECT name FROM role_lock WHERE name = 'audit_sequencer' FOR UPDATE")

    async def freed() -> bool:
        async with database("worker").across_tenants() as session:
            return await try_lock(session, LockName.AUDIT_SEQUENCER)

    assert not await freed()
    await until(freed, "the lock of a dead worker is free")
    gone.terminate()


async def test_a_migration_gives_up_at_a_table_that_stays_locked(
    settings: Settings, database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await database("owner").connect()
    try:
        await holder.execute("BEGIN; LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE")
        monkeypatch.setattr("finpool.apps.migrate.LOCK_SECONDS_MAX", 0.2)
        with pytest.raises(ConfigurationError, match="another session holds a lock"):
            await asyncio.to_thread(migrate, settings)
    finally:
        await holder.close()


@pytest.mark.parametrize(
    "hostile",
    [
        "INSERT INTO quota_limit (tenant_id, set_by, scope, scope_id, soft_thresholds_percent, updated_at)"
        f" VALUES ('bank-a', 'tenant', 'tenant', 'bank-a', {thresholds}, {moment})"
        for thresholds, moment in (
            ("'{}'", "'infinity'"),
            ("'{}'", "'-infinity'"),
            ("'{}'", "'200000-01-01'"),
            ("'{}'", "'0044-03-15 BC'"),
            ("'{NULL}'", "now()"),
            ("'{0}'", "now()"),
            ("'{{1,2},{3,4}}'", "now()"),
            ("array_fill(1::smallint, ARRAY[30000])", "now()"),
        )
    ],
)
async def test_a_limit_that_no_gateway_could_read_is_refused(
    database: OpenDatabase, owner: object, attacker: SignedConnection, hostile: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await attacker.execute(hostile)
    async with database("inference").across_tenants() as session:
        await LimitDirectory().load(session, None)


UNBOUNDED = """
SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.atttypid = 'timestamptz'::regtype
    AND a.attnum > 0 AND NOT a.attisdropped
    AND c.relname NOT IN ('audit_outbox', 'audit_quarantine', 'context_key', 'usage_record', 'transfer')
    AND NOT EXISTS (
        SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
            AND pg_get_constraintdef(k.oid) LIKE '%253402300800%'
    )
"""


async def test_every_moment_that_a_process_reads_is_one_that_it_can_read(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert await owner.fetch(UNBOUNDED) == []
