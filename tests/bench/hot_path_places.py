"""What `make bench` measures: the app on one core, beside it an engine, a bare pass-through and a Postgres."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hot_path_tenant import MODEL, PEPPER, catalogue_with_all_slots, create_tenants
from pause_file import PauseFile

from finpool.apps.migrate import migrate
from finpool.installation.postgres import EmbeddedPostgres, start_postgres, stop_postgres
from finpool.installation.process.components import INFERENCE, component_environment
from finpool.kernel.settings import Settings

PLACES = ("engine", "bare", "finpool")
START_SECONDS_MAX = 60
SERVERS = Path(__file__).with_name("hot_path_servers.py")
WATCHED = Path(__file__).with_name("pause_file.py")
SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True)
class Place:
    """Whom the load is put on; the engine does not measure its pauses."""

    port: int
    process: psutil.Process
    pauses: PauseFile | None = None


def unused_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, core: int, environment: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a server on one core until the block ends; yield its process once it listens."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {core})
        asyncio.run(_listening(process, port))
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def _listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    async with asyncio.timeout(START_SECONDS_MAX):
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"a server ended before it listened: {process.args!r}")


@contextmanager
def embedded_postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """Run a Postgres under `home`, migrated."""
    server = start_postgres(home)
    try:
        urls: dict[str, Any] = {f"{role}_database_url": url for role, url in server.urls.items()}
        migrate(Settings(home=home, **urls))
        yield server
    finally:
        stop_postgres(home)


@contextmanager
def places(home: Path, tenants: int) -> Iterator[tuple[dict[str, Place], list[str]]]:
    """Start everything; yield each place and the keys of the tenants that send requests."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the app, one for the engine and the load")
    ports = {place: unused_port() for place in PLACES}
    engine_url = f"http://127.0.0.1:{ports['engine']}"
    with ExitStack() as stack:
        server = stack.enter_context(embedded_postgres(home))
        for name, value in (("key_pepper", PEPPER), ("engine_token", "t" * 64)):
            (home / "secrets" / name).write_text(value)
        urls: dict[str, Any] = {f"{role}_database_url": url for role, url in server.urls.items()}
        catalogue = catalogue_with_all_slots(home)
        settings = Settings(home=home, port=ports["finpool"], catalogue_dir=catalogue, **urls)
        keys = asyncio.run(create_tenants(settings, tenants))
        os.sched_setaffinity(0, {cores[1]})
        python = [sys.executable, str(SERVERS)]
        found = {}
        command = [*python, "engine", str(ports["engine"]), MODEL]
        found["engine"] = stack.enter_context(running(command, ports["engine"], cores[-1]))
        paths = {name: home / f"pauses of {name}" for name in ("bare", "finpool")}
        command = [*python, "bare", str(ports["bare"]), f"{engine_url}/v1/chat/completions", str(paths["bare"])]
        found["bare"] = stack.enter_context(running(command, ports["bare"], cores[0]))
        environment = {**component_environment(INFERENCE, settings, server.urls), "FINPOOL_SERVE_URL": engine_url}
        environment["FINPOOL_LOG_LEVEL"] = "WARNING"
        environment["PYTHONPATH"] = str(SAMPLES)
        command = [sys.executable, str(WATCHED), str(paths["finpool"]), INFERENCE.name]
        found["finpool"] = stack.enter_context(running(command, ports["finpool"], cores[0], environment))
        files = {name: PauseFile(path) for name, path in paths.items()}
        yield {name: Place(ports[name], process, files.get(name)) for name, process in found.items()}, keys
