"""Groups of a cost sum to the whole after their rounding."""

from hypothesis import example, given
from hypothesis import strategies as st

from finpool.kernel.money import PICOS_PER_MICRO, micros_of_groups, to_micros_ceiling


@given(st.lists(st.integers(-(10**24), 10**24)))
@example([1, 1, 1])
@example([PICOS_PER_MICRO // 2] * 3)
def test_groups_sum_to_the_whole_and_each_is_less_than_a_micro_off(amounts: list[int]) -> None:
    micros = micros_of_groups(amounts)
    assert sum(micros) == to_micros_ceiling(sum(amounts))
    for amount, part in zip(amounts, micros, strict=True):
        assert abs(part * PICOS_PER_MICRO - amount) < PICOS_PER_MICRO


def test_the_largest_remainder_gets_what_is_left() -> None:
    assert micros_of_groups([100_000, 900_000, 1_000_000]) == [0, 1, 1]
    assert micros_of_groups([]) == []
