"""The checks of the fault run are worth something: each bug that is planted into the product, they name."""

import asyncio
import random
import re
import signal
import time
from pathlib import Path

import pytest
from fault_checks import Difference
from fault_load import Told
from fault_schedule import World
from fault_session import OVER_LIMIT, figures, judge, under_load
from fault_world import world_with
from forked_processes import Launcher

from finpool.installation.postgres import EmbeddedPostgres
from finpool.installation.process.components import INFERENCE

Plants = tuple[str, ...]
BUDGET_MICROS = 1_500
LIMITS = {
    ("bank-a", "tenant", "bank-a", "budget_total_micros"): BUDGET_MICROS,
    ("bank-a", "tenant", "bank-a", "concurrency"): 5,
    ("bank-b", "tenant", "bank-b", "budget_month_micros"): 900_000,
}
OPTIONS = {"FINPOOL_LEASE_SHARE_OF_REST": "0.6"}
SHORT, LONG = (1, 20), (80, 80)
SERVED_SECONDS_MIN, SERVED_SECONDS_MAX, LONG_SECONDS = 0.8, 60.0, 2.2
WHOLE_MIN, BROKEN_OFF_MIN, LEFT_MIN = 15, 3, 3
REST_SECONDS_MAX = {True: 2.0, False: 30.0}
"""With bugs planted, and without: what never comes to rest need not be waited for."""

CRASH_MARGIN_SECONDS = 1.0

PLANTED = {
    "abort_billed_one_token": r"got \d+ tokens, recorded are",
    "abort_costs_nothing": r"was answered and is not recorded",
    "cached_tokens_at_the_full_price": r"costs \d+ picos, charged are",
    "cost_cut_to_the_reservation": r"costs \d+ picos, charged are",
    "dispatched_twice": r"was dispatched 2 times",
    "failure_charged": r"costs 0 picos, charged are",
    "idempotency_check_skipped": r"is not recorded",
    "intent_not_written": r"is not recorded",
    "lease_beyond_the_rest": r"^over limit: bank-a: operator/tenant/bank-a/total",
    "lease_of_a_remembered_rest": r"^over limit: bank-a: operator/tenant/bank-a/total",
    "lease_never_returned": r"is still open at rest",
    "lease_returned_early": r"spends what no lease held",
    "marks_ignored": r"crashed after \d+ tokens",
    "posted_twice": r"used \d+ picos, posted is",
    "record_skipped": r"is not recorded",
    "released_on_crash": r"was computed \(left\) and is not recorded",
    "share_handed_out_twice": r"^over limit: bank-a: shares of operator/tenant/bank-a concurrency",
    "spooled_twice": r"used \(0, 0, 0\)",
    "transfer_out_of_balance": r"is not recorded",
    "usage_of_another_tenant": r"of bank-[ab] is recorded for bank-[ab]",
}

RUNS = [
    ("marks_ignored", "abort_billed_one_token", "cached_tokens_at_the_full_price", "lease_never_returned"),
    ("released_on_crash", "failure_charged", "posted_twice"),
    ("intent_not_written", "cost_cut_to_the_reservation", "usage_of_another_tenant"),
    ("abort_costs_nothing", "dispatched_twice", "spooled_twice"),
    ("record_skipped", "lease_returned_early"),
    ("idempotency_check_skipped",),
    ("transfer_out_of_balance",),
    ("lease_beyond_the_rest", "share_handed_out_twice"),
    ("lease_of_a_remembered_rest",),
]
"""Bugs that share a run: none of them keeps another from showing, and none shows as another does.

A record that is skipped does not show beside settlements that are spooled twice: the skipped one may be the second.
"""

NEED_A_CRASH = {"intent_not_written", "marks_ignored", "released_on_crash"}
"""The others show without one, and this saves the time."""

OVER_A_LIMIT = {"lease_beyond_the_rest", "lease_of_a_remembered_rest", "share_handed_out_twice"}
"""These show while they happen: in what two replicas hold together of one limit. The others show in one replica."""


async def short_run(world: World, plants: Plants) -> list[Difference]:
    """Serve two banks, kill the gateways in mid-stream if a bug needs it, and judge what is left."""
    everywhere = range(len(world.replicas))
    load = under_load(
        world,
        LIMITS,
        {"bank-a": everywhere, "bank-b": everywhere},
        callers_per_replica=2,
        rest_seconds_max=REST_SECONDS_MAX[bool(plants)],
    )
    async with load as told:
        world.engine.weights = {"answer": 6.0, "broken": 2.0, "failed": 1.0}
        world.engine.output_tokens = SHORT
        await served(world, told, plants)
        if not plants or NEED_A_CRASH.intersection(plants):
            await crash_in_mid_stream(world)
    books, found = await judge(world, told, CRASH_MARGIN_SECONDS)
    assert told.whole(), "nothing was answered: this run shows nothing"
    assert len(world.engine.dispatches) > len(told.whole()), figures(world, told, books, found)
    return found


async def served(world: World, told: Told, plants: Plants) -> None:
    """Serve until the limits are passed, if that is the bug, or else until calls have ended in every way."""
    began_at = time.monotonic()
    served_seconds = 0.0
    while served_seconds < SERVED_SECONDS_MAX:
        await asyncio.sleep(0.1)
        served_seconds = time.monotonic() - began_at
        if OVER_A_LIMIT.issuperset(plants) and plants:
            enough = not unnamed(plants, [f"{OVER_LIMIT}: {text}" for text in world.sector.over])
        else:
            enough = served_seconds > SERVED_SECONDS_MIN and _ended_in_every_way(world, told)
        if enough:
            return


def unnamed(plants: Plants, found: list[str]) -> list[str]:
    """Return the bugs that no difference names."""
    return [plant for plant in plants if not any(re.search(PLANTED[plant], each) for each in found)]


def _ended_in_every_way(world: World, told: Told) -> bool:
    broken_off = sum(dispatch.ended == "broken off" for dispatch in world.engine.dispatches.values())
    left = sum(seen.left and len(seen.tokens_at) > 1 for seen in told.requests.values())
    return len(told.whole()) >= WHOLE_MIN and broken_off >= BROKEN_OFF_MIN and left >= LEFT_MIN


async def crash_in_mid_stream(world: World) -> None:
    world.engine.weights = {"answer": 1.0}
    world.engine.output_tokens, world.engine.pause_seconds = LONG, (0.05, 0.05)
    await asyncio.sleep(LONG_SECONDS)
    for replica in world.replicas:
        replica.send(INFERENCE, signal.SIGKILL)
    world.engine.output_tokens, world.engine.pause_seconds = SHORT, (0.0, 0.005)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))


async def run_with(
    plants: Plants, clean_postgres: EmbeddedPostgres, home: Path, launcher: Launcher
) -> list[Difference]:
    one_is_enough = plants and not OVER_A_LIMIT.intersection(plants)
    names = ("replica-one",) if one_is_enough else ("replica-one", "replica-two")
    async with world_with(
        random.Random(1), home, clean_postgres.urls, launcher, names=names, limits=LIMITS, options=OPTIONS
    ) as world:
        world.months.clear()
        for replica in world.replicas:
            replica.plants = plants
        return await short_run(world, plants)


async def test_the_product_as_it_is_shows_no_difference(
    clean_postgres: EmbeddedPostgres, tmp_path: Path, launcher: Launcher
) -> None:
    assert await run_with((), clean_postgres, tmp_path, launcher) == []


@pytest.mark.parametrize("plants", RUNS, ids=" ".join)
async def test_each_planted_bug_is_named(
    plants: Plants, clean_postgres: EmbeddedPostgres, tmp_path: Path, launcher: Launcher
) -> None:
    found = [f"{each.kind}: {each.text}" for each in await run_with(plants, clean_postgres, tmp_path, launcher)]
    assert unnamed(plants, found) == [], found[:20]


def test_each_bug_is_planted_in_one_run() -> None:
    assert sorted(plant for plants in RUNS for plant in plants) == sorted(PLANTED)
