"""`make bench`: the cost of a request with every check on, beside a bare pass-through, in the same run.

The app has one core of its own; the engine and the load share another. Rounds alternate between the app, the
pass-through and the engine itself. So other work of the machine slows all of them alike.
"""

import argparse
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop
from hot_path_load import Load, ask, request_bytes
from hot_path_servers import STREAM_CHUNKS
from hot_path_tenant import MODEL, PEPPER, catalogue_with_all_slots, create_tenant_with_key

from finpool.apps.migrate import migrate
from finpool.installation.postgres import EmbeddedPostgres, start_postgres, stop_postgres
from finpool.installation.process.components import INFERENCE, component_environment
from finpool.kernel.settings import Settings

CONNECTIONS = (1, 16, 64)
PLACES = ("engine", "bare", "finpool")
START_SECONDS_MAX = 60
SERVERS = Path(__file__).with_name("hot_path_servers.py")


@dataclass(frozen=True)
class Kind:
    """The request, and the end of every whole answer."""

    name: str
    body: bytes
    ending: dict[str, bytes]


def _kind(name: str, ending: bytes, **options: object) -> Kind:
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **options})
    return Kind(name, body, {"engine": b"[DONE]", "bare": b"[DONE]", "finpool": ending})


KINDS = (
    _kind("unary", b'"usage"', max_tokens=8),
    _kind(f"stream of {STREAM_CHUNKS}", b"[DONE]", max_tokens=STREAM_CHUNKS, stream=True),
)


@dataclass(frozen=True)
class Place:
    """Whom the load is put on."""

    port: int
    process: psutil.Process


@dataclass(frozen=True)
class Measured:
    """One measurement: the load's own figures, and the processor time that an answer took."""

    load: Load
    cpu_micros: float


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
def places(home: Path) -> Iterator[tuple[dict[str, Place], str]]:
    """Start everything; yield each place and the tenant's key."""
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
        key = asyncio.run(create_tenant_with_key(settings))
        os.sched_setaffinity(0, {cores[1]})
        python = [sys.executable, str(SERVERS)]
        found = {}
        command = [*python, "engine", str(ports["engine"]), MODEL]
        found["engine"] = stack.enter_context(running(command, ports["engine"], cores[-1]))
        command = [*python, "bare", str(ports["bare"]), f"{engine_url}/v1/chat/completions"]
        found["bare"] = stack.enter_context(running(command, ports["bare"], cores[0]))
        environment = {**component_environment(INFERENCE, settings, server.urls), "FINPOOL_SERVE_URL": engine_url}
        environment["FINPOOL_LOG_LEVEL"] = "WARNING"
        command = INFERENCE.command()
        found["finpool"] = stack.enter_context(running(command, ports["finpool"], cores[0], environment))
        yield {name: Place(ports[name], process) for name, process in found.items()}, key


def measure(places: dict[str, Place], key: str, seconds: float, rounds: int) -> Iterator[list[str]]:
    """Yield the table's rows. Each figure is the median over the rounds."""
    for kind in KINDS:
        for connections in CONNECTIONS:
            measured: dict[str, list[Measured]] = {name: [] for name in PLACES}
            for _ in range(rounds):
                for name in PLACES:
                    measured[name].append(_measure(places[name], name, key, kind, connections, seconds))
            yield _row(kind.name, connections, measured)


def _measure(place: Place, name: str, key: str, kind: Kind, connections: int, seconds: float) -> Measured:
    before = sum(place.process.cpu_times()[:2])
    request = request_bytes(place.port, key, kind.body)
    load = uvloop.run(ask(place.port, request, kind.ending[name], connections=connections, seconds=seconds))
    cpu_seconds = sum(place.process.cpu_times()[:2]) - before
    if load.wrong:
        raise SystemExit(f"{name} answered {len(load.wrong)} requests wrongly, as {load.wrong[0]!r}")
    return Measured(load, cpu_seconds * 1e6 / load.answers)


def _row(kind: str, connections: int, measured: dict[str, list[Measured]]) -> list[str]:
    rate = {name: statistics.median(each.load.per_second for each in measured[name]) for name in PLACES}
    cpu = {name: statistics.median(each.cpu_micros for each in measured[name]) for name in PLACES}
    pairs = list(zip(measured["finpool"], measured["bare"], strict=True))
    ratio = statistics.median(app.load.per_second / bare.load.per_second for app, bare in pairs)
    cpu_ratio = statistics.median(bare.cpu_micros / app.cpu_micros for app, bare in pairs)
    row = [kind, str(connections), *(f"{rate[name]:,.0f}" for name in PLACES), f"{ratio:.2f}"]
    row += [f"{cpu['bare']:,.0f}", f"{cpu['finpool']:,.0f}", f"{cpu_ratio:.2f}"]
    for share in (0.5, 0.99):
        at = {name: statistics.median(each.load.quantile_ms(share) for each in measured[name]) for name in PLACES}
        row += [f"{at['bare'] - at['engine']:.2f}", f"{at['finpool'] - at['engine']:.2f}"]
    return row


HEAD = (
    *("", "conns", "engine/s", "bare/s", "finpool/s", "ratio", "bare us", "finpool us", "ratio"),
    *("bare p50+", "p50+ ms", "bare p99+", "p99+ ms"),
)
NOTE = """\
p50+ and p99+: milliseconds that finpool (or bare) adds to asking the engine itself. ratio: of finpool/s to bare/s.
us: microseconds of processor time a request takes, in all threads, and bare's to finpool's as a ratio: what else the
machine does changes the first ratio more than this one. engine/s is what the load generator and the engine reach
together, on the core they share: no place can show more.
"""


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="finpool-bench-"))
    try:
        with places(home) as (found, key):
            show(NOTE)
            show(" ".join(f"{each:>12}" for each in HEAD))
            for row in measure(found, key, options.seconds, options.rounds):
                show(" ".join(f"{each:>12}" for each in row))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
