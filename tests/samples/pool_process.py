"""The real pool in a process and a home of its own: Postgres, Ray Serve, HAProxy, real models; stopped at the end."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from database_settings import settings_for
from model_life import serve_untested
from waiting import until_now

from finpool.apps.migrate import migrate
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

READY_SECONDS_MAX = 600
STOP_SECONDS_MAX = 90
REPOSITORY = Path(__file__).parents[2]


@contextmanager
def running_pool(
    catalogue: Path | None = None,
    *,
    urls: Mapping[str, str] | None = None,
    tested: bool = False,
    ready_seconds_max: float = READY_SECONDS_MAX,
    **variables: str,
) -> Iterator[tuple[psutil.Process, Settings]]:
    """Run the pool with the default catalogue or another; yields it once every model is ready.

    Without the `urls` of an empty database it gets a Postgres of its own. With `tested` each version has passed its
    test before: the pool starts its engine, or leaves it asleep. `variables` are more of its settings, by their names
    in the environment.
    """
    weights = os.environ.get("FINPOOL_TEST_WEIGHTS_DIR", str(REPOSITORY / ".cache" / "weights"))
    with tempfile.TemporaryDirectory(prefix="finpool-test-") as directory:
        home = Path(directory)
        (home / "secrets").mkdir(mode=0o700)
        for name in ("key_pepper", "engine_token", "ray_token"):
            (home / "secrets" / name).write_text(secrets.token_hex(32))
        own = None if urls is not None else start_postgres(home).urls
        urls = own or urls or {}
        settings = settings_for(
            urls,
            home=home,
            port=_free_port(),
            weights_dir=Path(weights),
            catalogue_dir=catalogue,
            log_level="INFO",
        )
        try:
            migrate(settings)
            if tested:
                asyncio.run(_serve_untested(settings))
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith(("FINPOOL_", "RAY_"))},
                "FINPOOL_HOME": str(home),
                "FINPOOL_PORT": str(settings.port),
                "FINPOOL_WEIGHTS_DIR": weights,
                "FINPOOL_POOL_DATABASE_URL": urls["pool"],
                **variables,
            }
            if catalogue is not None:
                environment["FINPOOL_CATALOGUE_DIR"] = str(catalogue)
            with _process(home, environment, ready_seconds_max) as process:
                yield process, settings
        finally:
            if own is not None:
                stop_postgres(home)


async def _serve_untested(settings: Settings) -> None:
    database = Database(settings.database_url("pool"), connections_max=1)
    try:
        for model in Catalogue.load(settings.catalogue_dir or default_directory()).on_pool():
            await serve_untested(database, model)
    finally:
        await database.close()


@contextmanager
def _process(home: Path, environment: dict[str, str], ready_seconds_max: float) -> Iterator[psutil.Process]:
    log = home / "pool.log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "finpool.installation.pool.process"], env=environment, stdout=output, stderr=output
        )
    try:
        _await_ready(started, home, log, ready_seconds_max)
        yield psutil.Process(started.pid)
    finally:
        _stop(started)


def _free_port() -> int:
    """Return a base port whose offsets for Serve are free as well."""
    while True:
        base = 20_000 + secrets.randbelow(9_000)
        try:
            for offset in (10, 11):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base


def _await_ready(started: "subprocess.Popen[bytes]", home: Path, log: Path, seconds_max: float) -> None:
    def is_ready() -> bool:
        assert started.poll() is None, f"the pool ended:\n{log.read_text()[-4000:]}"
        return read_engines(home) is not None

    until_now(is_ready, f"the pool is ready; its log is {log}", seconds_max=seconds_max, pause_seconds=0.1)


def _stop(started: "subprocess.Popen[bytes]") -> None:
    """Stop the pool as `finpool down` does, and insist that nothing of it is left."""
    if started.poll() is not None:
        return
    family = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGTERM)
    assert started.wait(STOP_SECONDS_MAX) == 0
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS_MAX)
    assert not left
