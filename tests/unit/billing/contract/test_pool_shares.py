"""The sector shares what the pool costs: to the last unit, and no bank pays less for weighing more."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.contract.schemas import membership_fees
from finpool.kernel.ids import TenantId

amounts = st.integers(0, 10**15)
basis_points = st.integers(0, 10_000)
members = st.dictionaries(st.sampled_from("abcdefgh").map(TenantId), st.integers(1, 10**12), min_size=1)


def bank(name: str) -> TenantId:
    return TenantId(name)


@given(amounts, basis_points, members)
def test_the_shares_sum_to_the_cost_exactly(amount: int, points: int, weights: dict[TenantId, int]) -> None:
    parts = membership_fees(amount, points, weights)
    assert parts.keys() == weights.keys()
    assert sum(parts.values()) == amount
    assert min(parts.values()) >= 0


@given(amounts, basis_points, members)
def test_who_weighs_more_pays_no_less(amount: int, points: int, weights: dict[TenantId, int]) -> None:
    parts = membership_fees(amount, points, weights)
    by_weight = [parts[member] for member in sorted(weights, key=lambda each: (weights[each], parts[each]))]
    assert by_weight == sorted(by_weight)


@given(amounts, basis_points, members, st.integers(1, 10**12))
def test_a_bank_that_grows_alone_pays_no_less(
    amount: int, points: int, weights: dict[TenantId, int], growth: int
) -> None:
    member = min(weights)
    grown = {**weights, member: weights[member] + growth}
    assert membership_fees(amount, points, grown)[member] >= membership_fees(amount, points, weights)[member]


@given(amounts, basis_points, members)
def test_each_share_is_within_one_unit_of_the_formula(amount: int, points: int, weights: dict[TenantId, int]) -> None:
    count, total = len(weights), sum(weights.values())
    for member, part in membership_fees(amount, points, weights).items():
        exact = amount * (points * total + (10_000 - points) * count * weights[member])
        assert abs(part * 10_000 * count * total - exact) < 10_000 * count * total


@given(amounts, basis_points, members, st.randoms())
def test_the_order_in_which_banks_are_named_changes_nothing(
    amount: int, points: int, weights: dict[TenantId, int], random: Random
) -> None:
    shuffled = list(weights.items())
    random.shuffle(shuffled)
    assert membership_fees(amount, points, dict(shuffled)) == membership_fees(amount, points, weights)


def test_a_third_each_gives_the_last_unit_to_the_first_by_name() -> None:
    assert membership_fees(100, 10_000, {bank("c"): 1, bank("a"): 1, bank("b"): 1}) == {"a": 34, "b": 33, "c": 33}


def test_half_is_shared_equally_and_half_by_weight() -> None:
    assert membership_fees(1000, 5000, {bank("large"): 3, bank("small"): 1}) == {"large": 625, "small": 375}


def test_a_pool_without_members_is_shared_by_nobody_and_nobody_weighs_nothing() -> None:
    assert membership_fees(1000, 5000, {}) == {}
    with pytest.raises(ValueError, match="above 0"):
        membership_fees(1000, 5000, {bank("a"): 0})
