"""A breaker opens for a backend's failures, refuses at once, and lets one request find out whether it works again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.serving.backend.breaker import Breaker, BreakerState
from finpool.serving.backend.retry_budget import RETRIES_PER_REQUEST, RETRIES_SAVED_MAX, RetryBudget
from finpool.serving.errors import EngineBusy, EngineFailed, EngineLate, EngineRefused, EngineSilent, EngineUnavailable

FAILURES = (EngineFailed("broke"), EngineUnavailable("away"))


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def breaker(clock: Clock) -> Breaker:
    return Breaker("far", failures_max=3, open_seconds=5, clock=clock)


def run(through: Breaker, error: Exception | None = None, *, worked: bool = False) -> None:
    """Send one request through, which ends with an error, or having worked, or having shown nothing."""
    permit = through.enter()
    if error is not None:
        with pytest.raises(type(error)), permit:
            raise error
    permit.end(worked=worked)


def opened(clock: Clock) -> Breaker:
    through = breaker(clock)
    for _ in range(3):
        run(through, FAILURES[0])
    return through


def state_of(breaker: Breaker) -> BreakerState:
    """Read the state anew: a type checker takes an attribute for unchanged."""
    return breaker.state


def test_after_enough_failures_in_a_row_a_request_is_refused_at_once_and_told_when_to_come_back() -> None:
    through = opened(Clock())
    with pytest.raises(EngineUnavailable) as refused:
        through.enter()
    assert (refused.value.status, refused.value.code) == (503, "engine_unavailable")
    assert refused.value.headers["retry-after"] == "5"


def test_others_are_served_as_soon_as_the_one_that_tries_is_answered_and_while_its_answer_goes_on() -> None:
    clock = Clock()
    through = opened(clock)
    clock.seconds += 5
    trial = through.enter()
    trial.worked()
    run(through, worked=True)
    with pytest.raises(EngineFailed), trial:
        raise FAILURES[0]
    trial.end(worked=True)
    # That it broke off later is one failure like any other.
    assert through.state is BreakerState.CLOSED


def test_one_request_at_a_time_tries_a_backend_that_failed() -> None:
    clock = Clock()
    through = opened(clock)
    clock.seconds += 5
    trial = through.enter()
    with pytest.raises(EngineUnavailable):
        through.enter()
    trial.end(worked=True)
    assert through.state is BreakerState.CLOSED
    run(through, FAILURES[1])
    assert through.state is BreakerState.CLOSED


def test_a_trial_that_fails_keeps_it_shut_for_as_long_again() -> None:
    clock = Clock()
    through = opened(clock)
    clock.seconds += 5
    run(through, FAILURES[1])
    clock.seconds += 4
    with pytest.raises(EngineUnavailable):
        through.enter()
    clock.seconds += 1
    run(through, worked=True)
    assert through.state is BreakerState.CLOSED


def test_a_trial_whose_caller_leaves_lets_the_next_one_try_at_once() -> None:
    clock = Clock()
    through = opened(clock)
    clock.seconds += 5
    run(through)
    run(through, worked=True)
    assert through.state is BreakerState.CLOSED


def test_requests_from_before_neither_reopen_nor_close_it() -> None:
    clock = Clock()
    through = breaker(clock)
    early, late = through.enter(), through.enter()
    for _ in range(3):
        run(through, FAILURES[0])
    clock.seconds += 4
    early.end(worked=True)
    late.note(FAILURES[0])
    late.end(worked=False)
    assert state_of(through) is BreakerState.OPEN
    clock.seconds += 1
    run(through, worked=True)
    assert state_of(through) is BreakerState.CLOSED


def test_refusals_a_busy_backend_and_callers_that_leave_say_nothing_against_it() -> None:
    through = breaker(Clock())
    for _ in range(10):
        run(through, EngineRefused("too long"), worked=True)
        run(through, EngineBusy())
        run(through)
    assert through.state is BreakerState.CLOSED


@given(st.lists(st.sampled_from(["fails", "works", "leaves", "waits"]), max_size=60))
def test_whatever_happens_a_backend_that_works_again_is_asked_again(events: list[str]) -> None:
    clock = Clock()
    through = breaker(clock)
    for event in events:
        if event == "waits":
            clock.seconds += 5
        elif through.state is BreakerState.CLOSED or clock.seconds >= through._opened_at + 5:
            run(through, FAILURES[0] if event == "fails" else None, worked=event == "works")
    clock.seconds += 5
    run(through, worked=True)
    assert through.state is BreakerState.CLOSED


@given(st.lists(st.booleans(), max_size=300))
def test_retries_never_pass_a_tenth_of_the_requests_and_what_was_saved_up(requests: list[bool]) -> None:
    budget, taken = RetryBudget(), 0
    for wants_retry in requests:
        budget.earn()
        taken += wants_retry and budget.take()
    assert taken <= RETRIES_SAVED_MAX + RETRIES_PER_REQUEST * len(requests)
    if all(requests) and len(requests) > 20:
        assert taken < len(requests)


@pytest.mark.parametrize("timeout", [EngineLate("late"), EngineSilent("silent")])
def test_timeouts_beside_requests_that_are_answered_open_no_breaker(timeout: Exception) -> None:
    clock = Clock()
    through = breaker(clock)
    answered = through.enter()

    def wait() -> None:
        clock.seconds += 60
        answered.heard()
        raise timeout

    for _ in range(10):
        permit = through.enter()
        with pytest.raises(type(timeout)), permit:
            wait()
        permit.end(worked=False)
    assert state_of(through) is BreakerState.CLOSED


def test_timeouts_of_long_prompts_open_no_breaker_until_their_answers_begin() -> None:
    clock = Clock()
    through = breaker(clock)
    for _ in range(10):
        permit = through.enter()
        permit.patient = True
        with pytest.raises(EngineLate), permit:
            raise EngineLate("late")
        permit.end(worked=False)
    assert state_of(through) is BreakerState.CLOSED
    for _ in range(3):
        permit = through.enter()
        permit.patient = True
        permit.heard()
        clock.seconds += 60
        with pytest.raises(EngineSilent), permit:
            raise EngineSilent("silent")
        permit.end(worked=False)
    assert state_of(through) is BreakerState.OPEN


def test_a_backend_that_falls_silent_to_all_opens_its_breaker() -> None:
    clock = Clock()
    through = breaker(clock)
    through.enter().heard()
    for _ in range(3):
        clock.seconds += 60
        run(through, EngineLate("late"))
    assert state_of(through) is BreakerState.OPEN
