"""The checks of the fault run are worth something: each bug that is planted into the product, they name."""

import asyncio
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_checks import MICROS, Difference
from fault_load import Told
from fault_replica import Launcher
from fault_schedule import World
from fault_session import figures, judge, under_load
from fault_world import PRICES, launched, world_with

from finpool.installation.postgres import EmbeddedPostgres
from finpool.installation.process.components import INFERENCE

BUDGET_MICROS = 6_000
LIMITS = {
    ("bank-a", "tenant", "bank-a", "budget_total_micros"): BUDGET_MICROS,
    ("bank-a", "tenant", "bank-a", "concurrency"): 5,
    ("bank-b", "tenant", "bank-b", "budget_month_micros"): 900_000,
}
OPTIONS = {"FINPOOL_LEASE_SHARE_OF_REST": "0.6"}
SHORT, LONG = (1, 30), (80, 80)
SHORT_SECONDS, SHORT_WAITS_MAX, LONG_SECONDS = 0.8, 40, 2.2
ANSWERS_MIN = 60
REST_SECONDS_MAX = {True: 2.0, False: 30.0}
"""With a bug planted, and without: what never comes to rest need not be waited for."""

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


NEED_A_CRASH = {"", "intent_not_written", "marks_ignored", "released_on_crash"}
"""The others show without one, and this saves the time."""

NEED_A_SPENT_BUDGET = {"lease_beyond_the_rest", "lease_of_a_remembered_rest"}
"""These show for certain once a bank was answered for more than its budget, which takes a slow machine longer."""


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with launched() as started:
        yield started


async def short_run(world: World, plant: str) -> list[Difference]:
    """Serve two banks with two replicas, kill both gateways in mid-stream, and judge what is left."""
    load = under_load(
        world,
        LIMITS,
        {"bank-a": (0, 1), "bank-b": (0, 1)},
        callers_per_replica=2,
        rest_seconds_max=REST_SECONDS_MAX[bool(plant)],
    )
    async with load as told:
        world.engine.weights = {"answer": 8.0, "broken": 1.0, "failed": 1.0}
        world.engine.output_tokens = SHORT
        await until_answered(told, beyond_a_budget=plant in NEED_A_SPENT_BUDGET)
        if plant in NEED_A_CRASH:
            await crash_in_mid_stream(world)
    books, found = await judge(world, told, CRASH_MARGIN_SECONDS)
    assert told.whole(), "nothing was answered: this run shows nothing"
    assert len(world.engine.dispatches) > len(told.whole()), figures(world, told, books, found)
    return found


async def until_answered(told: Told, *, beyond_a_budget: bool) -> None:
    """Serve for a while, on a slow machine until enough was answered for anything to show."""
    for _ in range(SHORT_WAITS_MAX):
        await asyncio.sleep(SHORT_SECONDS)
        spent = not beyond_a_budget or _answered_picos(told, "bank-a") > BUDGET_MICROS * MICROS
        if len(told.whole()) >= ANSWERS_MIN and spent:
            return


def _answered_picos(told: Told, tenant_id: str) -> int:
    """Return what the whole answers that a tenant was given cost."""
    usages = [seen.usage for seen in told.whole().values() if seen.tenant_id == tenant_id and seen.usage]
    return sum(
        (tokens - cached) * PRICES[0] + cached * PRICES[1] + written * PRICES[2] for tokens, cached, written in usages
    )


async def crash_in_mid_stream(world: World) -> None:
    world.engine.weights = {"answer": 1.0}
    world.engine.output_tokens, world.engine.pause_seconds = LONG, (0.05, 0.05)
    await asyncio.sleep(LONG_SECONDS)
    for replica in world.replicas:
        replica.send(INFERENCE, signal.SIGKILL)
    world.engine.output_tokens, world.engine.pause_seconds = SHORT, (0.0, 0.005)
    await asyncio.gather(*(replica.ready() for replica in world.replicas))


async def run_with(plant: str, clean_postgres: EmbeddedPostgres, home: Path, launcher: Launcher) -> list[Difference]:
    names = ("replica-one", "replica-two")
    async with world_with(
        random.Random(1), home, clean_postgres.urls, launcher, names=names, limits=LIMITS, options=OPTIONS
    ) as world:
        world.months.clear()
        for replica in world.replicas:
            replica.plant = plant
        return await short_run(world, plant)


async def test_the_product_as_it_is_shows_no_difference(
    clean_postgres: EmbeddedPostgres, tmp_path: Path, launcher: Launcher
) -> None:
    assert await run_with("", clean_postgres, tmp_path, launcher) == []


@pytest.mark.parametrize("plant", PLANTED)
async def test_a_planted_bug_is_named(
    plant: str, clean_postgres: EmbeddedPostgres, tmp_path: Path, launcher: Launcher
) -> None:
    found = [f"{each.kind}: {each.text}" for each in await run_with(plant, clean_postgres, tmp_path, launcher)]
    assert [each for each in found if re.search(PLANTED[plant], each)], found[:20]
