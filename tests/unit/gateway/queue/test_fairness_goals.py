"""The promises of the queue, on a simulated engine in virtual time; `make bench-fairness` shows it beside others."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from fairness_engine import ACCELERATOR
from fairness_measures import Measures, measure
from fairness_policies import simulate
from fairness_workloads import (
    SECONDS,
    Workload,
    interactive_alone,
    interactive_beside_flood,
    overload,
    poisson_short_long,
    unknown_lengths,
    weighted,
)

OURS, FCFS = "VTC, predicted", "FCFS"


@cache
def run(policy_name: str, make: Callable[[], Workload]) -> Measures:
    workload = make()
    engine = simulate(policy_name, ACCELERATOR, workload.requests, SECONDS, workload.weights)
    return measure(engine, workload.requests, SECONDS, workload.weights)


@pytest.mark.parametrize("make", [overload, unknown_lengths, poisson_short_long])
def test_backlogged_tenants_are_served_alike_whatever_they_send(make: Any) -> None:
    one, other = make().backlogged
    assert run(OURS, make).ratio(one, other, {}) == pytest.approx(1, abs=0.03)


def test_tenants_are_served_by_their_weights() -> None:
    measures = run(OURS, weighted)
    for tenant in "BCD":
        assert measures.ratio(tenant, "A", weighted().weights) == pytest.approx(1, rel=0.03)


def test_fairness_costs_less_than_a_hundredth_of_the_throughput() -> None:
    assert run(OURS, overload).tokens_per_second >= 0.99 * run(FCFS, overload).tokens_per_second


def test_a_chat_beside_a_flood_waits_for_the_step_under_way_and_not_for_anybodys_answer() -> None:
    alone = run(OURS, interactive_alone).first_token_seconds["chat"]
    beside = run(OURS, interactive_beside_flood).first_token_seconds["chat"]
    # Half of a full batch's step, and then one of its own with the prompt of a neighbour in it.
    step = ACCELERATOR.step_seconds + ACCELERATOR.sequences_max * ACCELERATOR.sequence_seconds
    assert beside <= alone + step + 256 * ACCELERATOR.prompt_token_seconds
