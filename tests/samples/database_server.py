"""One Postgres for each process of a test run: migrated once, without flushes, and emptied before each test."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
from database_settings import settings_for

from finpool.apps.migrate import migrate
from finpool.installation.postgres import DATABASE_NAME, start_postgres, stop_postgres

_SERVER_SETTINGS = (
    # No test cuts this machine's power, and the commits of a killed server survive without a flush.
    ("fsync", "off"),
    ("full_page_writes", "off"),
    # A login with the usual 4,096 iterations takes milliseconds, and the tests log in thousands of times.
    ("scram_iterations", "1"),
)

_EMPTY_TABLES = """
CREATE FUNCTION pg_temp.empty_tables() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
    filled bool;
BEGIN
    -- A process that a test killed may have left a transaction, which would fill a table again.
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    FOR name IN
        SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND relname NOT IN ('alembic_version', 'role_lock', 'context_key')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO filled;
        IF filled THEN
            EXECUTE format('DELETE FROM public.%I', name);
        END IF;
    END LOOP;
END $$
"""
"""Deletes the few rows that a test wrote: to truncate 30 tables and their indexes takes ten times as long."""


class DatabaseServer:
    """A migrated server; its `urls` are one for each database role."""

    def __init__(self, home: Path) -> None:
        """Start a server below `home`, a directory with a short path; `close` stops it."""
        self._home = home
        self._loop = asyncio.new_event_loop()
        self.postgres = start_postgres(home)
        try:
            self._superuser = self._await(self._prepared())
            migrate(settings_for(self.postgres.urls))
        except BaseException:
            self._stop()
            raise

    def empty(self) -> None:
        """Delete every row, and end every connection that a test left."""
        self._await(self._superuser.execute("SELECT pg_temp.empty_tables()"))

    def new_database(self, name: str) -> dict[str, str]:
        """Create an empty database of the schema's owner; returns its URLs, one for each database role."""
        self._await(self._superuser.execute(f"CREATE DATABASE {name} OWNER finpool_owner"))
        return {role: url.replace(f"/{DATABASE_NAME}?", f"/{name}?") for role, url in self.postgres.urls.items()}

    def close(self) -> None:
        """End the superuser's connection and stop the server."""
        self._await(self._superuser.close())
        self._stop()

    def _stop(self) -> None:
        self._loop.close()
        stop_postgres(self._home)

    def _await(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _prepared(self) -> Any:
        """Change the server's settings, and return the superuser's connection."""
        password = (self._home / "secrets" / "postgres_superuser").read_text()
        owner = urlsplit(self.postgres.urls["owner"])
        socket_dir = unquote(parse_qs(owner.query)["host"][0])
        connection = await asyncpg.connect(user="postgres", password=password, host=socket_dir, database=DATABASE_NAME)
        for name, value in _SERVER_SETTINGS:
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute("SET scram_iterations = 1")
        await connection.execute(f"ALTER ROLE finpool_owner PASSWORD '{owner.password}'")
        # Rows go in any order, the immutable ones too, and nobody is told of it.
        await connection.execute("SET session_replication_role = 'replica'")
        await connection.execute(_EMPTY_TABLES)
        return connection
