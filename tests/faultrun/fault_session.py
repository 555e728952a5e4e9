"""One run of a sector under load, from its first process to its last record, and the judgement on it."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from fault_checks import LEDGER, LOST, Books, Difference, crash_marks_missed, differences, read_books
from fault_load import Caller, Told
from fault_replica import COMPONENTS
from fault_schedule import World, keep_running
from fault_sector import Limit
from fault_world import PRICES

from finpool.billing.reconciliation.service import reconcile
from finpool.installation.process.components import INFERENCE, WORKER
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database

OVER_LIMIT = "over limit"
RECONCILE = "reconcile"
RECONCILED_AROUND = timedelta(days=365)


@asynccontextmanager
async def under_load(
    world: World,
    limits: Mapping[Limit, int],
    replicas_of: Mapping[str, Sequence[int]],
    *,
    callers_per_replica: int,
    rest_seconds_max: float,
) -> AsyncIterator[Told]:
    """Serve the tenants of `replicas_of`, each by its replicas, with callers on each; yield what callers are told.

    At the end callers stop, faults are undone, everything is recorded, and all processes end.
    """
    keys = {tenant_id: (await world.sector.add_tenant(tenant_id))[1] for tenant_id in replicas_of}
    for limit, amount in limits.items():
        await world.sector.limit(limit, amount)
    for replica in world.replicas:
        for component in COMPONENTS:
            replica.start(component)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))
    told, stop, gone = Told(), asyncio.Event(), asyncio.Event()
    ports_of = {
        tenant_id: [world.replicas[number].port for number in numbers] for tenant_id, numbers in replicas_of.items()
    }
    callers = [
        Caller(told, tenant_id, keys[tenant_id], ports, random.Random(world.chance.random()))
        for tenant_id, ports in ports_of.items()
        for _ in range(callers_per_replica * len(ports))
    ]
    calling = [asyncio.create_task(each.call_until(stop)) for each in callers]
    watching = [asyncio.create_task(world.sector.watch(gone)), asyncio.create_task(keep_running(world, gone))]
    try:
        yield told
        stop.set()
        await asyncio.gather(*calling)
        await _come_to_rest(world, rest_seconds_max)
    finally:
        gone.set()
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
        await asyncio.gather(*watching)


async def _come_to_rest(world: World, seconds_max: float) -> None:
    """Undo every fault, let everything be recorded, stop all processes, and let the workers record what that left."""
    for replica in world.replicas:
        for proxy in (replica.database, replica.engine):
            proxy.heal()
        replica.free_disk()
        for component in COMPONENTS:
            replica.send(component, signal.SIGCONT)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))
    await world.sector.at_rest(seconds_max)
    for tenant_id, months in world.months.items():
        for month in months:
            await world.sector.invoice(tenant_id, month)
    for component in (INFERENCE, WORKER):
        await asyncio.gather(*(replica.end(component, signal.SIGTERM) for replica in world.replicas))


async def judge(world: World, told: Told, crash_margin_seconds: float) -> tuple[Books, list[Difference]]:
    """Return what was recorded, and everything that does not agree with it."""
    connection = await world.sector.connect()
    try:
        books = await read_books(connection)
    finally:
        await connection.close()
    found = differences(books, world.engine, told, PRICES)
    found += crash_marks_missed(books, told, crash_margin_seconds, world.marks_unwritten)
    found += await _reconciled(world.sector.url)
    for replica in world.replicas:
        intents, records = replica.left_in_spool()
        if intents or records:
            found.append(Difference(LOST, f"{replica.settings.home.name} keeps {intents} intents, {records} records"))
    found += [Difference(OVER_LIMIT, text) for text in world.sector.over]
    return books, found


async def _reconciled(url: str) -> list[Difference]:
    """Ask the product's own reconciliation as well; clocks went wrong by weeks, so it looks at a wide period."""
    database = Database(url, 1)
    try:
        reconciliation = await reconcile(database, now() - RECONCILED_AROUND, now() + RECONCILED_AROUND)
    finally:
        await database.close()
    return [Difference(RECONCILE, each.model_dump_json()) for each in reconciliation.differences]


def told_as_failed(world: World, told: Told, books: Books) -> list[str]:
    """Return requests that the engine began to answer, whose clients were told of an error, and that left no record."""
    recorded = books.by_request()
    return [
        request_id
        for request_id, dispatch in world.engine.dispatches.items()
        if dispatch.output_tokens and request_id not in recorded
    ]


def figures(world: World, told: Told, books: Books, found: Sequence[Difference]) -> str:
    """Return the run in one line."""
    counts = {
        "kills": world.counts["kills"],
        "cuts": world.counts["cuts"],
        "faults": world.counts.total() - world.counts["cuts"] - world.counts["kills"],
        "requests": len(world.engine.dispatches),
        "answered whole": len(told.whole()),
        "keys answered": sum(bool(each.answers) for each in told.repeated),
        "answers repeated": sum(each.replays for each in told.repeated),
        "settled after a crash": sum(row["outcome"] == "crashed" for row in books.usage),
        "computed but told as failed": len(told_as_failed(world, told, books)),
        "tokens": world.engine.tokens,
        "invoices": sum(row["kind"] == "invoice" for row in books.transfers),
        "looks at the limits": world.sector.samples,
        "lost": sum(each.kind == LOST for each in found),
        "double-billed": sum(each.kind == "double-billed" for each in found),
        "over limit": sum(each.kind == OVER_LIMIT for each in found),
        "reconcile differences": sum(each.kind == RECONCILE for each in found),
        "other differences": sum(each.kind == LEDGER for each in found),
    }
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
