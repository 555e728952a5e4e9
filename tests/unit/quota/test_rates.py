"""Rates hold in every window, and come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import RequestId, TenantId
from finpool.quota.rates import WINDOW_SECONDS, SlidingWindow, TenantRates
from finpool.quota.schemas import Limits

steps = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=40, allow_nan=False),  # seconds since the step before
        st.integers(min_value=0, max_value=50),  # tokens reserved
        st.integers(min_value=0, max_value=50),  # tokens used
        st.booleans(),  # ends before the next step
    ),
    max_size=60,
)


@given(steps, st.integers(min_value=0, max_value=120), st.integers(min_value=0, max_value=8))
def test_no_window_ever_holds_more_than_the_limits(taken, tokens_per_minute, requests_per_minute):
    rates = TenantRates(TenantId("bank-a"))
    limits = Limits(budget_micros=0, tokens_per_minute=tokens_per_minute, requests_per_minute=requests_per_minute)
    now, admitted = 0.0, {}
    for number, (pause, reserved, used, ends) in enumerate(taken):
        now += pause
        request_id = RequestId(str(number))
        try:
            rates.take(limits, request_id, reserved, now)
        except DomainError:
            continue
        admitted[number] = (now, min(used, reserved) if ends else reserved)
        if ends:
            rates.give_back(request_id, requests=1, tokens=min(used, reserved), now=now)
    for end in [at for at, _ in admitted.values()]:
        window = [tokens for at, tokens in admitted.values() if end - WINDOW_SECONDS < at <= end]
        assert len(window) <= requests_per_minute
        assert sum(window) <= tokens_per_minute


@given(steps)
def test_a_window_counts_what_a_plain_list_counts(taken):
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
def test_after_the_wait_that_was_told_there_is_room(taken, limit, amount):
    window, now = SlidingWindow(), 0.0
    for number, (pause, reserved, _, _) in enumerate(taken):
        now += pause
        window.add(RequestId(str(number)), reserved, now)
    wait_ms = window.wait_ms(limit, amount, now)
    if wait_ms is None:
        assert amount > limit
    else:
        assert window.wait_ms(limit, amount, now + wait_ms / 1000) == 0


def test_a_refused_request_counts_nothing():
    rates = TenantRates(TenantId("bank-a"))
    limits = Limits(budget_micros=0, requests_per_minute=5, tokens_per_minute=10, concurrency=1)
    rates.take(limits, RequestId("1"), 10, 0.0)
    for refused in ("2", "3"):
        with pytest.raises(DomainError):
            rates.take(limits, RequestId(refused), 1, 0.0)
    rates.give_back(RequestId("1"), requests=1, tokens=4, now=0.0)
    status = rates.status(limits, 0.0)
    assert (status["requests"].remaining, status["tokens"].remaining) == (4, 6)


@pytest.mark.parametrize("limit", ["concurrency", "requests_per_minute", "tokens_per_minute"])
def test_a_limit_of_nothing_tells_the_client_not_to_retry(limit):
    rates = TenantRates(TenantId("bank-a"))
    with pytest.raises(DomainError) as refused:
        rates.take(Limits(budget_micros=0, **{limit: 0}), RequestId("1"), 1, 0.0)
    assert refused.value.headers == {"x-should-retry": "false"}
