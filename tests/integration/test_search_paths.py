"""No session of a login role can put a table of its own in the place of the schema's, as it was found for invoices."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from finpool.apps.migrate import LOGIN_ROLES, migrate
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.settings import Settings

ROLES = [f"finpool_{role}" for role in LOGIN_ROLES]

WITHOUT_SEARCH_PATH = r"""
SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_temp\_%'
    AND NOT ('search_path=pg_catalog, pg_temp' = ANY (COALESCE(p.proconfig, '{}')))
"""
"""Functions whose names a session could lead elsewhere. With this path, a table without its schema is not found."""

CALLED_FROM_ELSEWHERE = """
SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND p.pronamespace <> 'public'::regnamespace
UNION ALL
SELECT pol.polname FROM pg_policy pol
JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = pol.oid AND d.refclassid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.refobjid WHERE p.pronamespace <> 'public'::regnamespace
UNION ALL
SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'public'::regnamespace AND t.tgenabled <> 'O'
"""
"""Triggers and policies with functions of another schema than these tests look at, and triggers that are off."""

MAY_CREATE = """
SELECT role FROM unnest($1::text[]) AS role
WHERE has_database_privilege(role, current_database(), 'TEMPORARY, CREATE')
    OR EXISTS (SELECT FROM pg_namespace n WHERE has_schema_privilege(role, n.oid, 'CREATE'))
"""


@pytest.fixture
async def owner(clean_postgres: EmbeddedPostgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    yield connection
    await connection.close()


async def test_every_function_has_a_search_path_that_no_session_can_change(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    assert await owner.fetch(WITHOUT_SEARCH_PATH) == []
    assert await owner.fetch(CALLED_FROM_ELSEWHERE) == []


async def test_a_new_function_without_a_search_path_is_found(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    change = owner.transaction()
    await change.start()
    for options in ("", "SET search_path = public", "SET search_path = pg_temp, pg_catalog"):
        await owner.execute(
            f"CREATE OR REPLACE FUNCTION newcomer() RETURNS integer LANGUAGE sql {options} AS 'SELECT 1'"
        )
        assert [row[0] for row in await owner.fetch(WITHOUT_SEARCH_PATH)] == ["newcomer()"], options
    await change.rollback()


async def test_no_login_role_may_create_a_table_anywhere(
    clean_postgres: EmbeddedPostgres, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    assert await owner.fetch(MAY_CREATE, ROLES) == []
    for role in LOGIN_ROLES:
        connection = await asyncpg.connect(clean_postgres.urls[role])
        try:
            for statement in ("CREATE TEMP TABLE invoice (x int)", "CREATE TABLE public.mine (x int)"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()


def test_a_migration_takes_the_right_from_a_database_of_before(settings: Settings, grants_of_before: None) -> None:
    migrate(settings)


@pytest.fixture
async def grants_of_before(owner: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """The rights that Postgres gives by itself, and some given by hand; afterwards nobody may have them any more."""
    await owner.execute("GRANT TEMPORARY ON DATABASE finpool TO PUBLIC")
    await owner.execute("GRANT TEMPORARY, CREATE ON DATABASE finpool TO finpool_operator")
    await owner.execute("GRANT CREATE ON SCHEMA public TO finpool_tenant")
    assert [row["role"] for row in await owner.fetch(MAY_CREATE, ROLES)] == ROLES
    yield
    assert await owner.fetch(MAY_CREATE, ROLES) == []


async def test_a_table_that_says_it_is_written_once_cannot_be_emptied(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    tables = [
        row[0]
        for row in await owner.fetch(
            "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'immutable' AND NOT tgisinternal"
        )
    ]
    assert {"usage_record", "audit_entry", "invoice", "invoice_line", "transfer"} <= set(tables)
    for table in tables:
        with pytest.raises(asyncpg.RaiseError, match="immutable"):
            await owner.execute(f"TRUNCATE {table} CASCADE")
