"""Locks that stop background work are taken by the roles that do this work, and by no other."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from finpool.apps.migrate import LOGIN_ROLES, migrate
from finpool.kernel.database.database import Database
from finpool.kernel.database.locks import LockName, lock, try_lock
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

ROLES_OF = {
    LockName.AUDIT_SEQUENCER: {"worker"},
    LockName.EXPIRED_REQUESTS: {"worker"},
    LockName.GATEWAY_SHARES: {"inference"},
    LockName.SERVICE_GUARANTEES: {"operator"},
    LockName.MODEL_VERSIONS: {"operator", "pool"},
}
OpenDatabase = Callable[[str], Database]


@pytest.fixture
async def attacker(database: OpenDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the tenants' role with an open transaction."""
    connection = await database("tenant").connect()
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("name", LockName)
async def test_only_its_own_roles_take_a_lock(database: OpenDatabase, name: LockName) -> None:
    for role in (role for role in LOGIN_ROLES if role != "tenant"):
        async with database(role).across_tenants() as session:
            if role in ROLES_OF[name]:
                assert await try_lock(session, name)
                continue
        with pytest.raises(Exception, match=r"sees no lock|permission denied"):
            async with database(role).across_tenants() as session:
                await lock(session, name)


async def test_a_lock_is_held_until_its_transaction_ends(database: OpenDatabase) -> None:
    async with database("worker").across_tenants() as holder:
        await lock(holder, LockName.AUDIT_SEQUENCER)
        async with database("worker").across_tenants() as other:
            assert not await try_lock(other, LockName.AUDIT_SEQUENCER)
            assert await try_lock(other, LockName.EXPIRED_REQUESTS)
    async with database("worker").across_tenants() as other:
        assert await try_lock(other, LockName.AUDIT_SEQUENCER)


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_no_role_locks_the_table_of_locks_or_that_of_migrations(database: OpenDatabase, role: str) -> None:
    connection = await database(role).connect()
    try:
        for table in ("role_lock", "alembic_version"):
            for mode in ("ROW SHARE", "ROW EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")
                await connection.execute("ROLLBACK")
    finally:
        await connection.close()


async def test_a_role_that_reads_tables_for_long_keeps_no_migration_waiting(
    settings: Settings, attacker: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await attacker.execute("SELECT pg_advisory_lock(4607182417), pg_advisory_lock(4607182418)")
    await attacker.execute("LOCK TABLE alembic_version IN ACCESS SHARE MODE")
    await asyncio.wait_for(asyncio.to_thread(migrate, settings), 30)


async def test_a_lock_that_the_schema_does_not_have_yet_is_named(database: OpenDatabase) -> None:
    owner = await database("owner").connect()
    try:
        await owner.execute("ALTER TABLE role_lock NO FORCE ROW LEVEL SECURITY")
        await owner.execute("UPDATE role_lock SET name = 'other' WHERE name = 'expired_requests'")
        with pytest.raises(ConfigurationError, match="run `finpool migrate`"):
            async with database("worker").across_tenants() as session:
                await try_lock(session, LockName.EXPIRED_REQUESTS)
    finally:
        await owner.execute("UPDATE role_lock SET name = 'expired_requests' WHERE name = 'other'")
        await owner.execute("ALTER TABLE role_lock FORCE ROW LEVEL SECURITY")
        await owner.close()
