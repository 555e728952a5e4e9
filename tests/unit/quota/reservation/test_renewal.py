"""Leases and rate allotments are renewed ahead: under a steady load no request waits for the account."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from fake_account import FakeAccount, Replica

from finpool.quota.errors import InsufficientQuota
from finpool.quota.reservation.refusals import REFUSAL_SECONDS

RATE_PER_SECOND = 500
ANSWER_EVERY = 50
"""The account answers what was asked in the background only after so many requests: a tenth of a second."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that passes when a test says so."""
    stopped = SimpleNamespace(seconds=1_000.0)
    monkeypatch.setattr("finpool.kernel.clock.time", SimpleNamespace(monotonic=lambda: stopped.seconds))
    return stopped


async def load(replica: Replica, clock: SimpleNamespace, requests: int) -> None:
    """Send requests one after the other; the account answers only now and then, to none that waits for it."""
    for number in range(requests):
        clock.seconds += 1 / RATE_PER_SECOND
        replica.settle(await replica.reserve(100), 40)
        if number % ANSWER_EVERY == 0:
            replica.account.answers.set()
            await replica.renewed()
            replica.account.answers.clear()
    replica.account.answers.set()
    await replica.renewed()


async def warm(replica: Replica, clock: SimpleNamespace) -> None:
    for _ in range(4 * RATE_PER_SECOND):
        clock.seconds += 1 / RATE_PER_SECOND
        replica.settle(await replica.reserve(100), 40)
        await replica.renewed()
    replica.account.asked.clear()


async def test_under_a_steady_load_no_request_waits_for_the_account(
    account: FakeAccount, replica: Replica, clock: SimpleNamespace
) -> None:
    account.limit = 10**12
    await warm(replica, clock)
    await load(replica, clock, 10 * RATE_PER_SECOND)
    assert account.asked  # It was renewed,
    assert not any(account.asked)  # and each time ahead: a request that waits says what it needs.


async def test_a_lease_follows_the_spending_and_holds_a_few_seconds_of_it(
    account: FakeAccount, replica: Replica, clock: SimpleNamespace
) -> None:
    account.limit = 10**12
    await warm(replica, clock)
    await load(replica, clock, 20 * RATE_PER_SECOND)
    await account.record()
    spent_in_a_second = 40 * RATE_PER_SECOND
    assert spent_in_a_second < account.pending < 30 * spent_in_a_second
    assert len(account.asked) < 20


async def test_rates_are_renewed_ahead_as_well(
    account: FakeAccount, replica_of: Callable[..., Replica], clock: SimpleNamespace
) -> None:
    account.limit = 10**12
    replica = replica_of(requests_per_minute=10**6, tokens_per_minute=10**9)
    await warm(replica, clock)
    await load(replica, clock, 2 * RATE_PER_SECOND)
    assert not any(account.asked)


async def test_a_replica_without_requests_asks_for_nothing(
    account: FakeAccount, replica: Replica, clock: SimpleNamespace
) -> None:
    replica.settle(await replica.reserve(10), 4)
    await replica.renewed()
    account.asked.clear()
    for _ in range(20):
        clock.seconds += 5
        await replica.allotments.return_unused()
    await account.record()
    assert (account.asked, account.pending, account.posted) == ([], 0, 4)


async def test_a_bank_far_below_its_rates_asks_the_account_a_few_times_a_minute(
    account: FakeAccount, replica_of: Callable[..., Replica], clock: SimpleNamespace
) -> None:
    account.limit = 10**12
    replica = replica_of(requests_per_minute=10**6, tokens_per_minute=10**9, concurrency=10**3)
    for second in range(120):
        if second == 60:
            account.written.clear()
            account.asked.clear()
        for _ in range(10):
            clock.seconds += 0.1
            replica.settle(await replica.reserve(100), 40)
        await replica.renewed()
        await replica.allotments.return_unused()
    assert len(account.asked) < 20
    assert len(account.written) <= 3  # Shares are renewed every half minute.


async def test_a_refusal_names_the_rest_after_a_grant_however_soon_it_follows_another(
    account: FakeAccount, replica: Replica, clock: SimpleNamespace
) -> None:
    account.limit = 60
    with pytest.raises(InsufficientQuota) as before:
        await replica.reserve(100)
    clock.seconds += REFUSAL_SECONDS / 2  # The replica still remembers its refusal.
    await replica.reserve(60)
    with pytest.raises(InsufficientQuota) as after:
        await replica.reserve(100)
    assert (before.value.left_picos, after.value.left_picos) == (60, 0)
