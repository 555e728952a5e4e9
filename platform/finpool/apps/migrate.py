"""The migration of a database: login roles first, then the schema. Safe to run again, and concurrently."""

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

import finpool
from finpool.apps.role_timeouts import settings_of
from finpool.kernel.database.context import ContextSigner
from finpool.kernel.database.database import Database
from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

LOGIN_ROLES = ("inference", "tenant", "operator", "regulator", "worker", "pool")
_MAY_CREATE = """
SELECT has_database_privilege($1, current_database(), 'TEMPORARY, CREATE')
    OR has_schema_privilege($1, 'public', 'CREATE')
"""
_VERSION_TABLE = (
    "CREATE TABLE IF NOT EXISTS alembic_version"
    " (version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""Alembic's own table, made here because it is what concurrent migrations lock before they change anything."""

_LOCK = "LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"

LOCK_SECONDS_MAX = 60.0
"""A transaction that stays open holds up a migration, and the migration everybody behind it. So it gives up."""


def migrations_dir() -> Path:
    """Return the directory of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(finpool.__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def migrate(settings: Settings) -> None:
    """Create or update the login roles and run pending migrations as the schema's owner.

    Raises `ConfigurationError` if a URL is missing or names another role than `finpool_<role>`. It also raises for a
    role that could bypass row-level security (superuser or BYPASSRLS).
    """
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    urls = {role: DatabaseUrl.parse(settings.database_url(role)) for role in LOGIN_ROLES}
    database = Database(settings.database_url("owner"), connections_max=1)
    try:
        await _ensure_roles(database, urls)
        async with database.engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
        await _keep_context_keys(database, urls)
    except (asyncpg.LockNotAvailableError, DBAPIError) as error:
        if getattr(getattr(error, "orig", error), "sqlstate", None) != asyncpg.LockNotAvailableError.sqlstate:
            raise
        raise ConfigurationError(
            f"another session holds a lock on the schema for {LOCK_SECONDS_MAX:g} seconds; nothing was changed:"
            " find it in pg_stat_activity, end it, and run this again"
        ) from error
    finally:
        await database.close()


async def _keep_context_keys(database: Database, urls: dict[str, DatabaseUrl]) -> None:
    """Let the database verify what processes sign with the passwords of these URLs."""
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
            for url in urls.values():
                await ContextSigner(url).keep(connection)
    finally:
        await connection.close()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["connection"] = connection
    config.attributes["lock_seconds_max"] = LOCK_SECONDS_MAX
    command.upgrade(config, "head")


async def _ensure_roles(database: Database, urls: dict[str, DatabaseUrl]) -> None:
    connection = await database.connect()
    try:
        await _ensure_version_table(connection)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX * 1000:.0f}ms'")
            await connection.execute(_LOCK)
            for role, url in urls.items():
                await _ensure_role(connection, f"finpool_{role}", url)
            await _revoke_creation(connection)
    finally:
        await connection.close()


async def _ensure_version_table(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.execute(_VERSION_TABLE)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
        # Another migration made it at the same moment and has committed.
        return


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", name: str, url: DatabaseUrl) -> None:
    if url.user != name or not url.password:
        variable = f"FINPOOL_{name.removeprefix('finpool_').upper()}_DATABASE_URL"
        raise ConfigurationError(f"{variable} must log in as {name} with a password")
    row = await connection.fetchrow("SELECT rolsuper OR rolbypassrls AS unsafe FROM pg_roles WHERE rolname = $1", name)
    if row is not None and row["unsafe"]:
        raise ConfigurationError(f"the database role {name} is a superuser or bypasses row-level security")
    verb = "CREATE" if row is None else "ALTER"
    literal = await connection.fetchval("SELECT quote_literal($1::text)", url.password)
    await connection.execute(f"{verb} ROLE {name} LOGIN PASSWORD {literal}")
    for setting, value in settings_of(name.removeprefix("finpool_")).items():
        await connection.execute(f"ALTER ROLE {name} SET {setting} = '{value}'")


async def _revoke_creation(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave no login role a place for objects of its own: they could stand before the schema's in a search path."""
    roles = ", ".join(f"finpool_{role}" for role in LOGIN_ROLES)
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    statements = (
        f"REVOKE TEMPORARY, CREATE ON DATABASE {name} FROM PUBLIC, {roles}",
        f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {roles}",
    )
    for statement in statements:
        await connection.execute(statement)
    for role in LOGIN_ROLES:
        # A temporary table that exists all the same is found last, behind the table of the same name.
        await connection.execute(f"ALTER ROLE finpool_{role} IN DATABASE {name} SET search_path = public, pg_temp")
        # Postgres only warns where a revoking role does not own the database.
        if await connection.fetchval(_MAY_CREATE, f"finpool_{role}"):
            raise ConfigurationError(
                "login roles may create tables in the database, and finpool_owner may not forbid it:"
                f" let the database's owner run {'; '.join(statements)}"
            )
