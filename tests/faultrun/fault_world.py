"""A sector's parts put together: the engine, the replicas, and each one's own lines to the engine and to Postgres."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from aiohttp import web
from fault_proxy import FaultProxy, Streams
from fault_replica import Replica
from fault_schedule import World
from fault_sector import PEPPER, Limit, Sector
from forked_processes import Launcher
from truth_engine import MODEL, TruthEngine

from finpool.billing.months import month_of, months_between
from finpool.catalogue.model.service import default_directory
from finpool.kernel.clock import now
from finpool.kernel.settings import Settings

PRICES = (1_000_000, 250_000, 2_000_000)
"""Of the model under test, in picos per token: input, cached input, output."""

_DECLARED = (
    ("slots: 4", "slots: 32"),
    ("cached_input_micros_per_million_tokens: 1000000", "cached_input_micros_per_million_tokens: 250000"),
)


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


def write_common_files(home: Path) -> tuple[Path, Path]:
    """Write the secrets and a catalogue whose cached tokens have a price of their own; returns both directories."""
    secrets, catalogue = home / "secrets", home / "catalogue"
    secrets.mkdir(exist_ok=True)
    for name, value in (("key_pepper", PEPPER), ("engine_token", "t" * 64)):
        (secrets / name).write_text(value)
    catalogue.mkdir()
    declared = (default_directory() / f"{MODEL}.yaml").read_text(encoding="utf-8")
    for before, after in _DECLARED:
        assert before in declared
        declared = declared.replace(before, after)
    (catalogue / f"{MODEL}.yaml").write_text(declared, encoding="utf-8")
    return secrets, catalogue


def new_replica(
    launcher: Launcher,
    home: Path,
    urls: dict[str, str],
    both: tuple[FaultProxy, FaultProxy],
    options: Mapping[str, str],
) -> Replica:
    """Return a replica that is not started yet; its home is named for it."""
    home.mkdir()
    database, engine = both
    common = home.parent
    settings = Settings(
        home=home, secrets_dir=common / "secrets", catalogue_dir=common / "catalogue", port=unused_port()
    )
    environment = {
        "FINPOOL_REPLICA_ID": home.name,
        "FINPOOL_SERVE_URL": f"http://127.0.0.1:{engine.port}",
        "FINPOOL_LEASE_IDLE_SECONDS": "0.4",
        "FINPOOL_RECORDER_INTERVAL_SECONDS": "0.05",
        "FINPOOL_ENGINE_READ_TIMEOUT_SECONDS": "5",
        "FINPOOL_ENGINE_START_TIMEOUT_SECONDS": "5",
        "FINPOOL_QUEUE_TIMEOUT_SECONDS": "5",
        **options,
    }
    routed = {role: over_tcp(url, database.port) for role, url in urls.items()}
    replica = Replica(launcher, settings, routed, environment, database, engine)
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


def _months_over(limits: Mapping[Limit, int]) -> dict[str, list[str]]:
    """Return the last three months, by tenant, the oldest first."""
    this_month = month_of(now())
    months = months_between(month_of(this_month - timedelta(days=80)), this_month)
    return {tenant_id: [f"{month:%Y-%m}" for month in months] for tenant_id in sorted({limit[0] for limit in limits})}


@asynccontextmanager
async def world_with(
    chance: random.Random,
    home: Path,
    urls: dict[str, str],
    launcher: Launcher,
    *,
    names: Sequence[str],
    limits: Mapping[Limit, int],
    options: Mapping[str, str],
) -> AsyncIterator[World]:
    """Start the engine, and lay out replicas, not started yet, with their own lines to it and to Postgres."""
    async with AsyncExitStack() as stack:
        engine = TruthEngine(random.Random(chance.random()))
        engine_port = await stack.enter_async_context(served_engine(engine))
        write_common_files(home)
        replicas = []
        for name in names:
            both = await stack.enter_async_context(lines(urls, engine_port))
            replicas.append(new_replica(launcher, home / name, urls, both, options))
        yield World(home, Sector(urls["operator"]), engine, replicas, dict(limits), chance, _months_over(limits))
