"""The promises of the queue, on a simulated engine in virtual time; `make bench-fairness` shows it beside others."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from fairness_engine import ACCELERATOR, PREFILL_BOUND
from fairness_measures import Measures, measure
from fairness_policies import OURS, UNBOUNDED_PROMPTS, simulate
from fairness_workloads import (
    SECONDS,
    Workload,
    interactive_alone,
    interactive_beside_flood,
    interactive_beside_long_prompts,
    overload,
    poisson_short_long,
    unknown_lengths,
    weighted,
)

FCFS = "FCFS"


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


def first_tokens_beside_long_prompts(policy_name: str) -> list[float]:
    workload = interactive_beside_long_prompts()
    simulate(policy_name, ACCELERATOR, workload.requests, SECONDS, workload.weights)
    chats = [each for each in workload.requests if each.tenant == "chat" and each.at < SECONDS - 60]
    return [each.first_token_at - each.at if each.first_token_at >= 0 else SECONDS for each in chats]


def test_a_chat_beside_any_long_prompts_waits_for_one_bounded_step() -> None:
    alone = run(OURS, interactive_alone).first_token_seconds["chat"]
    step = ACCELERATOR.step_seconds + ACCELERATOR.sequences_max * ACCELERATOR.sequence_seconds
    step += (PREFILL_BOUND.shared_tokens + PREFILL_BOUND.express_tokens) * ACCELERATOR.prompt_token_seconds
    assert max(first_tokens_beside_long_prompts(OURS)) <= 2 * alone + step
    assert min(first_tokens_beside_long_prompts(UNBOUNDED_PROMPTS)[100:]) > 2 * alone + step


def test_bounded_prompts_cost_no_throughput() -> None:
    bounded, unbounded = (run(each, interactive_beside_long_prompts) for each in (OURS, UNBOUNDED_PROMPTS))
    assert bounded.tokens_per_second >= 0.97 * unbounded.tokens_per_second
