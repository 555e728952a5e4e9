"""Slots divided between gateways: all of them, one at least for each, by what tenants want and weigh."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.peers.slot_split import Claim, split_slots

GATEWAYS = ["one", "two", "three", "four"]
WANTED = st.dictionaries(st.sampled_from(GATEWAYS), st.integers(0, 200), max_size=4)
CLAIMS = st.lists(st.builds(Claim, st.integers(1, 10**9), WANTED), max_size=6)


@given(st.integers(0, 300), st.integers(1, 4), CLAIMS, WANTED)
def test_every_slot_is_somebodys_and_every_gateway_has_one(
    slots: int, count: int, claims: list[Claim], batch: dict[str, int]
) -> None:
    gateways = GATEWAYS[:count]

    def here(wanted: Mapping[str, int]) -> dict[str, int]:
        return {gateway: wanted.get(gateway, 0) for gateway in gateways}

    due = split_slots(slots, gateways, [Claim(each.weight, here(each.wanted)) for each in claims], here(batch))
    assert sum(due.values()) == max(slots, count)
    assert set(due) == set(gateways)
    assert min(due.values()) >= 1


@given(st.lists(st.integers(1, 15), min_size=4, max_size=4), st.integers(1, 10**6))
def test_where_there_is_enough_for_all_each_gateway_gets_what_its_tenants_want(wanted: list[int], weight: int) -> None:
    by_gateway = dict(zip(GATEWAYS, wanted, strict=True))
    due = split_slots(64, GATEWAYS, [Claim(weight, by_gateway), Claim(1, {"one": 2})], {})
    assert all(due[gateway] >= by_gateway[gateway] for gateway in GATEWAYS)


def test_where_there_is_too_little_tenants_get_slots_by_weight_wherever_they_wait() -> None:
    claims = [
        Claim(1, {"one": 500}),
        Claim(2, {"two": 500}),
        Claim(3, {"one": 400, "two": 400, "three": 400}),
    ]
    assert split_slots(60, GATEWAYS[:3], claims, {}) == {"one": 20, "two": 30, "three": 10}


def test_who_wants_less_than_its_part_leaves_the_rest_to_the_others() -> None:
    claims = [Claim(1, {"one": 4}), Claim(1, {"two": 100}), Claim(1, {"three": 100})]
    assert split_slots(60, GATEWAYS[:3], claims, {}) == {"one": 4, "two": 28, "three": 28}


def test_batch_requests_get_what_interactive_ones_leave() -> None:
    claims = [Claim(1, {"one": 40})]
    assert split_slots(60, GATEWAYS[:2], claims, {"two": 100}) == {"one": 40, "two": 20}
    assert split_slots(60, GATEWAYS[:2], [Claim(1, {"one": 100})], {"two": 100}) == {"one": 59, "two": 1}


def test_with_more_gateways_than_slots_each_still_gets_one() -> None:
    assert split_slots(2, GATEWAYS, [Claim(1, {"one": 9})], {}) == dict.fromkeys(GATEWAYS, 1)
