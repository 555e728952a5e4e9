"""The faults, and the seeded choice of the next: some of them at a time, each undone after a while."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_proxy import TO_CLIENT, TO_SERVER, FaultProxy
from fault_replica import Replica
from fault_sector import Limit, Sector, crash_postgres, start_postgres_again
from truth_engine import ALWAYS_WORKS, TruthEngine

from finpool.installation.process.components import INFERENCE, WORKER
from finpool.kernel.clock import now

HOUR_SECONDS = 3600
FAILING_ENGINE = {"answer": 10.0, "broken": 2.0, "refused": 1.0, "unavailable": 1.0, "failed": 1.0}


@dataclass
class World:
    """Everything that faults can be done to. `marks_unwritten`: from and until when some spool could not be written.

    `months`: those not invoiced yet, by tenant; the last of them is invoiced at the end.
    """

    home: Path
    sector: Sector
    engine: TruthEngine
    replicas: list[Replica]
    budgets: dict[Limit, int]
    chance: random.Random
    months: dict[str, list[str]]
    counts: Counter[str] = field(default_factory=Counter)
    marks_unwritten: list[tuple[float, float]] = field(default_factory=list)
    database_restarting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def pause(self, at_least: float, at_most: float) -> Awaitable[None]:
        """Wait for a random while, in seconds."""
        return asyncio.sleep(self.chance.uniform(at_least, at_most))


async def kill(world: World, replica: Replica) -> None:
    """Kill the gateway, its worker or both without a warning; they are started again when found ended."""
    for component in world.chance.choice(((INFERENCE,), (INFERENCE,), (WORKER,), (INFERENCE, WORKER))):
        world.counts["kills"] += replica.send(component, signal.SIGKILL)


async def stop(world: World, replica: Replica) -> None:
    """Tell the gateway or the worker to end; it is started again."""
    replica.send(world.chance.choice((INFERENCE, WORKER)), signal.SIGTERM)


async def freeze(world: World, replica: Replica) -> None:
    """Let a process stand still for a while, as an overloaded machine does."""
    component = world.chance.choice((INFERENCE, WORKER))
    pid = replica.pids[component.name]
    if replica.send(component, signal.SIGSTOP):
        await world.pause(0.3, 2.0)
        if replica.pids[component.name] == pid:
            replica.send(component, signal.SIGCONT)


async def fill_disk(world: World, replica: Replica) -> None:
    """Let no file of the replica grow."""
    began_at = time.monotonic()
    replica.fill_disk(world.chance)
    await world.pause(0.5, 2.0)
    replica.free_disk()
    world.marks_unwritten.append((began_at, time.monotonic()))


async def skew_clock(world: World, replica: Replica) -> None:
    """Put the replica's clocks forward or back: by seconds, by a day, by weeks, or into last month; they stay wrong."""
    day = 24 * HOUR_SECONDS
    back_days = now().day + world.chance.uniform(0, 20)
    reach = world.chance.choice((5.0, 26.0 * HOUR_SECONDS, 40.0 * day))
    replica.skew(world.chance.choice((world.chance.uniform(-reach, reach), -back_days * day)))


async def break_line(world: World, proxy: FaultProxy) -> None:
    """Do to one line what networks do."""
    match world.chance.choice(("cut", "cut", "delay", "refuse", "stall", "stall and cut")):
        case "delay":
            proxy.delay_seconds = world.chance.uniform(0.01, 0.2)
            await world.pause(0.5, 2.0)
        case "refuse":
            proxy.refusing = True
            proxy.cut()
            await world.pause(0.5, 3.0)
        case "stall":
            proxy.stall(TO_SERVER, TO_CLIENT)
            await world.pause(0.5, 3.0)
        case "stall and cut":
            proxy.stall(world.chance.choice((TO_SERVER, TO_CLIENT)))
            await world.pause(0.2, 1.5)
    world.counts["cuts"] += proxy.cut()
    proxy.heal()


async def break_database_line(world: World, replica: Replica) -> None:
    """Break a replica's line to Postgres."""
    await break_line(world, replica.database)


async def break_engine_line(world: World, replica: Replica) -> None:
    """Break a replica's line to the engine."""
    await break_line(world, replica.engine)


async def break_engine(world: World, replica: Replica) -> None:
    """Let the engine break off, refuse and fail for a while."""
    world.engine.weights = FAILING_ENGINE
    await world.pause(1.0, 3.0)
    world.engine.weights = ALWAYS_WORKS


async def restart_postgres(world: World, replica: Replica) -> None:
    """Crash Postgres and start it again."""
    async with world.database_restarting:
        await asyncio.to_thread(crash_postgres, world.home)
        await world.pause(0.2, 2.0)
        await asyncio.to_thread(start_postgres_again, world.home)


async def raise_limit(world: World, replica: Replica) -> None:
    """Give a tenant some more to spend, so that the edge of its budget is reached again and again."""
    await _change_limits(world, world.chance.randint(1_000, 20_000))


async def lower_limit(world: World, replica: Replica) -> None:
    """Take some of a tenant's budgets away, also what it has spent and leased already."""
    await _change_limits(world, -world.chance.randint(1_000, 10_000))


async def _change_limits(world: World, by_micros: int) -> None:
    async with world.database_restarting:
        tenant_id = world.chance.choice(sorted({limit[0] for limit in world.budgets}))
        for limit in world.budgets:
            if limit[0] == tenant_id:
                world.budgets[limit] = max(1, world.budgets[limit] + by_micros)
                await world.sector.limit(limit, world.budgets[limit])


async def issue_invoice(world: World, replica: Replica) -> None:
    """Invoice a month that is over while usage of it may still come: from clocks that are behind, and from spools."""
    async with world.database_restarting:
        due = [tenant_id for tenant_id, months in world.months.items() if len(months) > 1]
        if due:
            tenant_id = world.chance.choice(sorted(due))
            await world.sector.invoice(tenant_id, world.months[tenant_id].pop(0))


Fault = Callable[[World, Replica], Awaitable[None]]
FAULTS: dict[Fault, float] = {
    kill: 6,
    stop: 1,
    freeze: 1,
    fill_disk: 2,
    skew_clock: 3,
    break_database_line: 4,
    break_engine_line: 3,
    break_engine: 1,
    restart_postgres: 1,
    raise_limit: 6,
    lower_limit: 3,
    issue_invoice: 2,
}


async def do_faults(world: World, until: float) -> None:
    """Do one fault after the other until that moment of the monotonic clock."""
    while time.monotonic() < until:
        await world.pause(0.1, 0.8)
        fault = world.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        world.counts[fault.__name__] += 1
        await fault(world, world.chance.choice(world.replicas))


async def keep_running(world: World, stop_event: asyncio.Event) -> None:
    """Start ended processes again, and lift the faults that such a process did not get lifted."""
    while not stop_event.is_set():
        for replica in world.replicas:
            replica.start_what_ended()
        await asyncio.sleep(0.2)
