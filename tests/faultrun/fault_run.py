"""`make test-faults`: clients, three replicas on one budget and one on another, and faults; then every book must agree.

Everything is chosen from one seed. Prints one line of figures and each difference; exits 1 if there is one.
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from aiohttp import web
from fault_checks import Difference, crash_marks_missed, differences, read_books
from fault_load import Caller, Told
from fault_proxy import FaultProxy, Streams
from fault_replica import COMPONENTS, Launcher, Replica
from fault_schedule import World, do_faults, keep_running
from fault_sector import PEPPER, Sector, own_postgres
from truth_engine import TruthEngine

from finpool.apps.local.components import INFERENCE, WORKER
from finpool.kernel.settings import Settings

SEED = 20260101
PRICES = (1_000_000, 1_000_000, 2_000_000)
"""Of the catalogue's model, in picos per token: input, cached input, output."""

BUDGETS = {("bank-a", "total"): 3_000, ("bank-a", "month"): 4_000, ("bank-b", "day"): 2_000}
CALLERS_PER_PORT = 2
FAULTS_AT_A_TIME = 2
REST_SECONDS_MAX = 90.0
CRASH_MARGIN_SECONDS = 3.0
DIFFERENCES_SHOWN_MAX = 50


def unused_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def over_tcp(url: str, port: int) -> str:
    """Return a database URL with a port of the loopback in place of the server's socket."""
    parts = urlsplit(url)
    return f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path}"


@asynccontextmanager
async def lines(urls: dict[str, str], engine_port: int) -> AsyncIterator[tuple[FaultProxy, FaultProxy]]:
    """Open a replica's own lines to Postgres and to the engine."""
    directory = unquote(parse_qs(urlsplit(urls["operator"]).query)["host"][0])

    async def to_database() -> Streams:
        return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.5432")

    async def to_engine() -> Streams:
        return await asyncio.open_connection("127.0.0.1", engine_port)

    database, engine = FaultProxy(to_database), FaultProxy(to_engine)
    await database.start()
    await engine.start()
    try:
        yield database, engine
    finally:
        await database.close()
        await engine.close()


def new_replica(
    launcher: Launcher, home: Path, urls: dict[str, str], both: tuple[FaultProxy, FaultProxy], plant: str = ""
) -> Replica:
    """Return a replica that is not started yet; its home is named for it."""
    home.mkdir()
    database, engine = both
    secrets = home.parent / "secrets"
    secrets.mkdir(exist_ok=True)
    for name, value in (("key_pepper", PEPPER), ("engine_token", "t" * 64)):
        (secrets / name).write_text(value)
    settings = Settings(home=home, secrets_dir=secrets, port=unused_port())
    options = {
        "FINPOOL_REPLICA_ID": home.name,
        "FINPOOL_SERVE_URL": f"http://127.0.0.1:{engine.port}",
        "FINPOOL_LEASE_IDLE_SECONDS": "0.4",
        "FINPOOL_RECORDER_INTERVAL_SECONDS": "0.05",
        "FINPOOL_ENGINE_READ_TIMEOUT_SECONDS": "5",
        "FINPOOL_ENGINE_START_TIMEOUT_SECONDS": "5",
        "FINPOOL_QUEUE_TIMEOUT_SECONDS": "5",
    }
    routed = {role: over_tcp(url, database.port) for role, url in urls.items()}
    replica = Replica(launcher, settings, routed, options, database, engine, plant)
    replica.skew(0.0)
    return replica


@asynccontextmanager
async def served_engine(engine: TruthEngine) -> AsyncIterator[int]:
    """Serve the engine; yield its port."""
    runner = web.AppRunner(engine.app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    port = unused_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@contextmanager
def launched() -> Iterator[Launcher]:
    """Keep a launcher until the block ends."""
    launcher = Launcher()
    try:
        yield launcher
    finally:
        launcher.close()


@asynccontextmanager
async def world_with(chance: random.Random, home: Path, urls: dict[str, str]) -> AsyncIterator[World]:
    """Start the engine and four replicas on their own lines to it and to Postgres."""
    async with AsyncExitStack() as stack:
        engine = TruthEngine(random.Random(chance.random()))
        engine_port = await stack.enter_async_context(served_engine(engine))
        launcher = stack.enter_context(launched())
        replicas = []
        for name in ("one", "two", "three", "four"):
            both = await stack.enter_async_context(lines(urls, engine_port))
            replicas.append(new_replica(launcher, home / f"replica-{name}", urls, both))
        sector = Sector(urls["operator"])
        yield World(home, sector, engine, replicas, dict(BUDGETS), chance)


async def come_to_rest(world: World) -> None:
    """Undo every fault, let everything be recorded, stop all processes, and let the workers record what that left."""
    for replica in world.replicas:
        for proxy in (replica.database, replica.engine):
            proxy.heal()
        replica.free_disk()
        for component in COMPONENTS:
            replica.send(component, signal.SIGCONT)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))
    await world.sector.at_rest(REST_SECONDS_MAX)
    for component in (INFERENCE, WORKER):
        await asyncio.gather(*(replica.end(component, signal.SIGTERM) for replica in world.replicas))


async def run(world: World, seconds: float) -> list[Difference]:
    """Serve under faults for a while; return what does not agree afterwards."""
    keys = {tenant_id: (await world.sector.add_tenant(tenant_id))[1] for tenant_id in ("bank-a", "bank-b")}
    for (tenant_id, period), micros in world.budgets.items():
        await world.sector.limit(tenant_id, period, micros)
    for replica in world.replicas:
        for component in COMPONENTS:
            replica.start(component)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))
    ports = [replica.port for replica in world.replicas]
    told, stop, gone = Told(), asyncio.Event(), asyncio.Event()
    of_tenant = {"bank-a": ports[:3], "bank-b": ports[2:]}
    callers = [
        Caller(told, tenant_id, keys[tenant_id], mine, random.Random(world.chance.random()))
        for tenant_id, mine in of_tenant.items()
        for _ in range(CALLERS_PER_PORT * len(mine))
    ]
    calling = [asyncio.create_task(each.call_until(stop)) for each in callers]
    watching = asyncio.create_task(world.sector.watch(gone))
    keeping = asyncio.create_task(keep_running(world, gone))
    until = time.monotonic() + seconds
    await asyncio.gather(*(do_faults(world, until) for _ in range(FAULTS_AT_A_TIME)))
    stop.set()
    await asyncio.gather(*calling)
    await come_to_rest(world)
    gone.set()
    await asyncio.gather(watching, keeping)
    return await judge(world, told)


async def judge(world: World, told: Told) -> list[Difference]:
    """Print the figures and return every difference."""
    connection = await world.sector.connect()
    try:
        books = await read_books(connection)
    finally:
        await connection.close()
    found = differences(books, world.engine, told, PRICES)
    if not world.disk_full_until:
        found += crash_marks_missed(books, told, CRASH_MARGIN_SECONDS)
    for replica in world.replicas:
        intents, records = replica.left_in_spool()
        if intents or records:
            found.append(Difference("lost", f"{replica.settings.home.name} keeps {intents} intents, {records} records"))
    figures = {
        "kills": world.counts.pop("kills"),
        "cuts": world.counts.pop("cuts"),
        "faults": world.counts.total(),
        "requests": len(world.engine.dispatches),
        "answered whole": len(told.whole()),
        "tokens": world.engine.tokens,
        "crashed": sum(row["outcome"] == "crashed" for row in books.usage),
        "looks at the limits": world.sector.samples,
        "lost": sum(each.kind == "lost" for each in found),
        "double-billed": sum(each.kind == "double-billed" for each in found),
        "over limit": len(world.sector.over),
        "other differences": sum(each.kind == "ledger" for each in found),
    }
    show(", ".join(f"{name} {count:,}" for name, count in figures.items()))
    show(", ".join(f"{name} {count}" for name, count in sorted(world.counts.items())))
    return [*found, *(Difference("over limit", text) for text in world.sector.over)]


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run_once(seed: int, seconds: float, home: Path, urls: dict[str, str]) -> list[Difference]:
    """Run against a Postgres that is there, and say what was found."""
    async with world_with(random.Random(seed), home, urls) as world:
        found = await run(world, seconds)
        for each in found[:DIFFERENCES_SHOWN_MAX]:
            show(f"{each.kind}: {each.text}")
        if found:
            show("\n".join(replica.log() for replica in world.replicas))
    return found


def main(seconds: float, seed: int) -> int:
    """Run once; returns the exit code."""
    with own_postgres() as (home, urls):
        found = asyncio.run(run_once(seed, seconds, home, urls))
    show(f"seed {seed}: {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FINPOOL_FAULTS_SECONDS", "150")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FINPOOL_TEST_SEED", str(SEED))))
    options = parser.parse_args()
    sys.exit(main(options.seconds, options.seed))
