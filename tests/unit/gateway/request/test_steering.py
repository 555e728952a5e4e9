"""Values that engines read in their own ways mean the same on each."""

from typing import Any

import pytest
from chat_requests import engine_body
from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.request.generation import CHOICES_MAX

SEEDS = st.integers(-(2**63), 2**63 - 1)
RANDOM_ON_LLAMACPP = 2**32 - 1


def sent_seed(seed: int) -> int:
    sent: int = engine_body(seed=seed)["seed"]
    return sent


@given(SEEDS)
def test_every_seed_becomes_one_that_no_engine_takes_for_random(seed: int) -> None:
    assert 0 <= sent_seed(seed) == sent_seed(seed)
    assert sent_seed(seed) + CHOICES_MAX < RANDOM_ON_LLAMACPP


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 4_294_967_000])
def test_a_usual_seed_stays_as_it_is(seed: int) -> None:
    assert sent_seed(seed) == seed


def test_seeds_that_differ_by_a_power_of_two_differ() -> None:
    seeds = [0, 2**32, 2**33, 2**63 - 1, -1, -(2**63), 2**32 - 1, -(2**32)]
    assert len({sent_seed(seed) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("asked", [{"top_p": 0}, {"top_p": 0.0, "temperature": 1.5}])
def test_a_top_p_of_zero_is_greedy(asked: dict[str, Any]) -> None:
    assert engine_body(**asked) == {"temperature": 0.0}


def test_any_other_top_p_is_the_clients() -> None:
    assert engine_body(top_p=0.1, temperature=1.5) == {"top_p": 0.1, "temperature": 1.5}
