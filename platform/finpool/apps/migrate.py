"""The migration of a database: login roles first, then the schema. Safe to run again, and concurrently."""

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import finpool
from finpool.kernel.database.database import Database
from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

LOGIN_ROLES = ("inference", "tenant", "operator", "regulator", "worker", "pool")
_ROLES_LOCK_ID = 4_607_182_417


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
    finally:
        await database.close()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _ensure_roles(database: Database, urls: dict[str, DatabaseUrl]) -> None:
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ROLES_LOCK_ID)
            for role, url in urls.items():
                await _ensure_role(connection, f"finpool_{role}", url)
    finally:
        await connection.close()


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
