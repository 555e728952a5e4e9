"""`make test-faults`: clients, three replicas on one budget and one on another, and faults; then every book must agree.

Everything is chosen from one seed. Prints one line of figures and each difference; exits 1 if there is one.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from pathlib import Path

from fault_checks import Difference
from fault_schedule import FAULTS, World, do_faults
from fault_sector import own_postgres
from fault_session import figures, judge, under_load
from fault_world import world_with
from forked_processes import Launcher, launched

SEED = 20260101
BUDGETS = {
    ("bank-a", "tenant", "bank-a", "budget_total_micros"): 20_000,
    ("bank-a", "project", "main", "budget_day_micros"): 25_000,
    ("bank-b", "tenant", "bank-b", "budget_month_micros"): 15_000,
}
LIMITS = {
    **BUDGETS,
    ("bank-a", "tenant", "bank-a", "concurrency"): 10,
    ("bank-b", "tenant", "bank-b", "requests_per_minute"): 1_500,
}
CALLERS_PER_REPLICA = 2
FAULTS_AT_A_TIME = 2
REST_SECONDS_MAX = 90.0
CRASH_MARGIN_SECONDS = 3.0
DIFFERENCES_SHOWN_MAX = 50
FAULT_NAMES = {fault.__name__ for fault in FAULTS}


async def run(world: World, seconds: float) -> list[Difference]:
    """Serve under faults for a while; print the figures and return what does not agree afterwards."""
    replicas_of = {"bank-a": (0, 1, 2), "bank-b": (2, 3)}
    load = under_load(
        world, LIMITS, replicas_of, callers_per_replica=CALLERS_PER_REPLICA, rest_seconds_max=REST_SECONDS_MAX
    )
    async with load as told:
        until = time.monotonic() + seconds
        await asyncio.gather(*(do_faults(world, until) for _ in range(FAULTS_AT_A_TIME)))
    books, found = await judge(world, told, CRASH_MARGIN_SECONDS)
    show(figures(world, told, books, found))
    show(", ".join(f"{name} {count}" for name, count in sorted(world.counts.items()) if name in FAULT_NAMES))
    return found


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run_once(seed: int, seconds: float, home: Path, urls: dict[str, str], launcher: Launcher) -> list[Difference]:
    """Run against a Postgres that is there, and say what was found."""
    names = ("replica-one", "replica-two", "replica-three", "replica-four")
    async with world_with(random.Random(seed), home, urls, launcher, names=names, limits=BUDGETS, options={}) as world:
        found = await run(world, seconds)
        for each in found[:DIFFERENCES_SHOWN_MAX]:
            show(f"{each.kind}: {each.text}")
        if found:
            show("\n".join(replica.log() for replica in world.replicas))
    return found


def main(seconds: float, seed: int) -> int:
    """Run once; returns the exit code."""
    with own_postgres() as (home, urls), launched() as launcher:
        found = asyncio.run(run_once(seed, seconds, home, urls, launcher))
    show(f"seed {seed}: {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FINPOOL_FAULTS_SECONDS", "150")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FINPOOL_TEST_SEED", str(SEED))))
    options = parser.parse_args()
    sys.exit(main(options.seconds, options.seed))
