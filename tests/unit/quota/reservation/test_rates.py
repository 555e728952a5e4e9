"""Rates hold in every window, and come back."""

import asyncio
import math
from collections.abc import Callable

import pytest
from fake_account import Replica
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import RequestId, TenantId
from finpool.quota.errors import RequestAboveLimit
from finpool.quota.periods import RATE_SHARE_SECONDS, WINDOW_SECONDS
from finpool.quota.reservation.rates import RateAllotment, SlidingWindow
from finpool.quota.schemas import LimitKey, Rate, RateKey, Scope, SetBy, Subject

KEY = LimitKey(SetBy.OPERATOR, Scope.TENANT, "bank-a")
SUBJECT = Subject(TenantId("bank-a"), "main", "key_1", "model")

steps = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=40, allow_nan=False),  # seconds since the step before
        st.integers(min_value=0, max_value=50),  # tokens reserved
        st.integers(min_value=0, max_value=50),  # tokens used
        st.booleans(),  # ends before the next step
    ),
    max_size=60,
)

Steps = list[tuple[float, int, int, bool]]


def allotment_of(rate: Rate, amount: int, limit: int | None = None) -> RateAllotment:
    allotment = RateAllotment(RateKey(KEY, rate), amount if limit is None else limit)
    allotment.amount, allotment.valid_until = amount, math.inf
    return allotment


@given(steps, st.integers(min_value=0, max_value=120), st.integers(min_value=0, max_value=8))
def test_no_window_ever_holds_more_than_the_limits(
    taken: Steps, tokens_per_minute: int, requests_per_minute: int
) -> None:
    allotments = [allotment_of(Rate.REQUESTS, requests_per_minute), allotment_of(Rate.TOKENS, tokens_per_minute)]
    now, admitted = 0.0, {}
    for number, (pause, reserved, used, ends) in enumerate(taken):
        now += pause
        request_id = RequestId(str(number))
        if not all(allotment.fits(allotment.counted(reserved), now) for allotment in allotments):
            continue
        for allotment in allotments:
            allotment.take(request_id, allotment.counted(reserved), now)
        admitted[number] = (now, min(used, reserved) if ends else reserved)
        if ends:
            for allotment, counted in zip(allotments, (1, min(used, reserved)), strict=True):
                allotment.give_back(request_id, counted, now)
    for end in [at for at, _ in admitted.values()]:
        window = [tokens for at, tokens in admitted.values() if end - WINDOW_SECONDS < at <= end]
        assert len(window) <= requests_per_minute
        assert sum(window) <= tokens_per_minute


@given(steps)
def test_a_window_counts_what_a_plain_list_counts(taken: Steps) -> None:
    window, plain, now = SlidingWindow(), [], 0.0
    for number, (pause, reserved, used, ends) in enumerate(taken):
        now += pause
        window.add(RequestId(str(number)), reserved, now)
        plain.append([now, reserved])
        if ends:
            window.correct(RequestId(str(number)), used, now)
            plain[-1][1] = used
        assert window.total(now) == sum(amount for at, amount in plain if at > now - WINDOW_SECONDS)


@given(steps, st.integers(min_value=1, max_value=100), st.integers(min_value=0, max_value=100))
def test_after_the_wait_that_was_told_there_is_room(taken: Steps, limit: int, amount: int) -> None:
    window, now = SlidingWindow(), 0.0
    for number, (pause, reserved, _, _) in enumerate(taken):
        now += pause
        window.add(RequestId(str(number)), reserved, now)
    wait_ms = window.wait_ms(limit, amount, now)
    if wait_ms is None:
        assert amount > limit
    else:
        assert window.wait_ms(limit, amount, now + wait_ms / 1000) == 0


async def test_rejected_calls_are_not_charged_against_any_rate(replica_of: Callable[..., Replica]) -> None:
    replica = replica_of(requests_per_minute=5, tokens_per_minute=10, concurrency=1)
    served = await replica.reserve(1, tokens=10)
    for _ in range(2):
        with pytest.raises(DomainError):
            await replica.reserve(1, tokens=1)
    replica.quota.settle(served, cost_picos=1, tokens=4)
    status = replica.quota.status(SUBJECT)
    assert (status["requests"].remaining, status["tokens"].remaining) == (4, 6)


async def test_a_call_that_no_engine_took_counts_nothing(replica_of: Callable[..., Replica]) -> None:
    replica = replica_of(requests_per_minute=1, tokens_per_minute=10, concurrency=1)
    for _ in range(3):
        replica.quota.release(await replica.reserve(1, tokens=10))
    status = replica.quota.status(SUBJECT)
    assert (status["requests"].remaining, status["tokens"].remaining) == (1, 10)


@pytest.mark.parametrize("limit", ["concurrency", "requests_per_minute", "tokens_per_minute"])
async def test_a_limit_of_nothing_tells_the_client_not_to_retry(replica_of: Callable[..., Replica], limit: str) -> None:
    with pytest.raises(DomainError) as refused:
        await replica_of(**{limit: 0}).reserve(1, tokens=1)
    assert refused.value.headers["x-should-retry"] == "false"
    assert "retry-after-ms" not in refused.value.headers


def test_a_share_that_could_not_be_renewed_is_not_used() -> None:
    allotment = allotment_of(Rate.REQUESTS, 10)
    allotment.valid_until = RATE_SHARE_SECONDS
    assert allotment.fits(1, RATE_SHARE_SECONDS - 1)
    assert not allotment.fits(1, RATE_SHARE_SECONDS)


@given(
    st.lists(st.integers(min_value=0, max_value=1_000), min_size=1, max_size=5),
    st.integers(min_value=0, max_value=10_000),
    st.integers(min_value=0, max_value=10_000),
)
def test_a_lowered_limit_is_never_exceeded_by_the_sum_of_the_cut_shares(
    amounts: list[int], spare: int, lowered: int
) -> None:
    limit = sum(amounts) + spare
    allotments = [allotment_of(Rate.TOKENS, amount, limit) for amount in amounts]
    for allotment in allotments:
        allotment.relimit(lowered)
    assert sum(allotment.held(0.0) for allotment in allotments) <= lowered


def test_a_raised_limit_gives_no_replica_more_before_it_asked() -> None:
    allotment = allotment_of(Rate.TOKENS, 10)
    allotment.relimit(100)
    assert (allotment.held(0.0), allotment.room) == (10, 100)


async def test_a_refusal_and_its_headers_agree_on_the_rest(replica_of: Callable[..., Replica]) -> None:
    replica = replica_of(share_of_rest=1.0, tokens_per_minute=100)
    await replica.quota.reserve(SUBJECT, RequestId("first"), amount_picos=1, tokens=10)
    refused = asyncio.create_task(replica.quota.reserve(SUBJECT, RequestId("second"), amount_picos=1, tokens=101))
    for _ in range(2):  # The account's part has refused; its caller does not run yet.
        await asyncio.sleep(0)
    await replica.quota.reserve(SUBJECT, RequestId("third"), amount_picos=1, tokens=20)
    with pytest.raises(RequestAboveLimit) as refusal:
        await refused
    assert "70 left" in str(refusal.value)
    assert refusal.value.headers["x-ratelimit-remaining-tokens"] == "70"
    assert refusal.value.left_tokens == 70
