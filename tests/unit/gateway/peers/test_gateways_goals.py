"""What gateways promise together, on one simulated engine in virtual time; `make bench-fairness` shows the table."""

from functools import cache
from typing import Any

import pytest
from fairness_engine import ACCELERATOR
from fairness_gateways import (
    Together,
    chat_apart,
    each_at_its_own,
    one_spread,
    simulate_gateways,
    two_beside_one,
    weighted_unevenly,
)
from fairness_measures import measure
from fairness_policies import simulate
from fairness_workloads import SECONDS, overload

BACKLOGGED = [each_at_its_own, two_beside_one, one_spread, weighted_unevenly]


@cache
def together(make: Any) -> Together:
    return simulate_gateways(make(), together=True)


@pytest.mark.parametrize("make", BACKLOGGED)
def test_backlogged_tenants_are_served_by_weight_at_whichever_gateways_they_are(make: Any) -> None:
    workload = make()
    parts = together(make).parts(workload)
    assert parts == {tenant: pytest.approx(1, abs=0.03) for tenant in workload.backlogged}


def test_without_the_exchange_who_sends_to_all_gateways_gets_the_multiple() -> None:
    workload = one_spread()
    parts = simulate_gateways(workload, together=False).parts(workload)
    assert parts["S"] / parts["A"] == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("make", BACKLOGGED)
def test_all_gateways_together_never_send_an_engine_more_than_its_slots(make: Any) -> None:
    assert together(make).slots_max <= ACCELERATOR.sequences_max
    assert together(make).in_flight_max <= ACCELERATOR.sequences_max


def test_fairness_over_gateways_costs_less_than_a_fiftieth_of_the_throughput() -> None:
    first_come = simulate("FCFS", ACCELERATOR, overload().requests, SECONDS, {})
    alone = measure(first_come, overload().requests, SECONDS, {}).tokens_per_second
    assert together(two_beside_one).measures.tokens_per_second >= 0.98 * alone


def test_a_newcomers_first_token_does_not_wait_for_a_flood_at_all_gateways() -> None:
    step = ACCELERATOR.step_seconds + ACCELERATOR.sequences_max * ACCELERATOR.sequence_seconds
    assert together(chat_apart).measures.first_token_seconds["chat"] <= 3 * step
