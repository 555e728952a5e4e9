"""Fixtures that every test may use: a real Postgres, migrated, with one URL for each database role."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
from database_server import DatabaseServer
from database_settings import settings_for
from work_units import WorkUnits, place, scheduler

from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

pytest_plugins = ("forked_processes", "installation", "readme_transcript", "shallow_model", "shared_pool")

ROOT = Path(__file__).parents[1]

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile("finpool", deadline=None)
hypothesis.settings.load_profile("finpool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it at the end."""
    items.sort(key=lambda item: place(item.path.relative_to(ROOT).as_posix()))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> WorkUnits | None:
    """Let the files that start real engines run in one process of the run, one after the other."""
    return scheduler(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what this machine did not let be tested, and how much was generated."""
    reports = [report for each in terminalreporter.stats.values() for report in each]
    noted = {(name, str(line)) for report in reports for name, line in getattr(report, "user_properties", [])}
    for name, line in sorted(noted):
        if name == "not_done_here":
            terminalreporter.write_line(f"NOT DONE HERE: {line}", yellow=True)
        if name == "counted":
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def forgetful_loggers() -> Iterator[None]:
    """Let every logger follow the configuration in force: a cached one would keep the output of an ended test."""
    configure = structlog.configure
    structlog.configure = lambda **values: configure(**{**values, "cache_logger_on_first_use": False})
    yield
    structlog.configure = configure


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """Undo the configuration of logs that a test, or an app in it, has made."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """One embedded Postgres for the whole process, in a directory of its own."""
    home = Path(tempfile.mkdtemp(prefix="finpool-test-"))
    try:
        server = DatabaseServer(home)
        yield server
        server.close()
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres(database_server: DatabaseServer) -> EmbeddedPostgres:
    """The server's process id, and one URL for each database role."""
    return database_server.postgres


@pytest.fixture
def clean_postgres(database_server: DatabaseServer) -> EmbeddedPostgres:
    """The same Postgres with every table empty."""
    database_server.empty()
    return database_server.postgres


@pytest.fixture
async def database(clean_postgres: EmbeddedPostgres) -> AsyncIterator[Callable[[str], Database]]:
    """Open the empty database as a role: `database("inference")`."""
    opened: dict[str, Database] = {}

    def open_as(role: str) -> Database:
        if role not in opened:
            opened[role] = Database(clean_postgres.urls[role], connections_max=5)
        return opened[role]

    yield open_as
    for each in opened.values():
        await each.close()


@pytest.fixture
def settings(clean_postgres: EmbeddedPostgres, tmp_path: Path) -> Settings:
    """Settings of a process with its own home, secrets and all database URLs."""
    secrets_dir = tmp_path / "secrets"
    secrets_dir.mkdir(mode=0o700)
    (secrets_dir / "key_pepper").write_text("p" * 64)
    (secrets_dir / "engine_token").write_text("t" * 64)
    return settings_for(clean_postgres.urls, home=tmp_path)


@pytest.fixture
def seed() -> int:
    """The seed of random tests: FINPOOL_TEST_SEED, or always the same."""
    return int(os.environ.get("FINPOOL_TEST_SEED", "20260101"))
