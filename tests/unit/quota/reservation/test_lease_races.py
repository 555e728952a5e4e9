"""The events between a lease's growth and its return, on an account that a test can hold up or break.

A replica serves Bank A out of leases on the bank's account. Each story ends with every lease given back: nothing of
the bank's budget may stay pending, or the bank could never spend it.
"""

import asyncio
import random
from math import inf
from random import Random

import pytest
from fake_account import FakeAccount, Replica

from finpool.quota.errors import InsufficientQuota, QuotaUnavailable
from finpool.quota.reservation.service import Reservation


async def test_a_lease_that_is_growing_is_not_returned_meanwhile(account: FakeAccount, replica: Replica) -> None:
    """The replica has an idle lease, and asks the account for more. The idle lease falls due before the answer."""
    await replica.serve(100, cost=0)
    account.fall_silent()
    growing = asyncio.create_task(replica.reserve(500))
    await account.is_asked.wait()

    await replica.allotments.return_unused()
    await account.record()
    account.answers.set()
    replica.settle(await growing, 0)

    await replica.return_everything()
    assert account.pending == 0


async def test_a_grant_whose_answer_was_lost_goes_back(account: FakeAccount, replica: Replica) -> None:
    """The account grants a lease, and the connection breaks: the replica must return what it never heard of."""
    account.answer_is_lost = True
    with pytest.raises(QuotaUnavailable):
        await replica.reserve(100)
    assert account.pending == 100

    account.answer_is_lost = False
    await replica.return_everything()
    assert account.pending == 0


async def test_a_caller_that_leaves_while_the_account_answers_holds_nothing(
    account: FakeAccount, replica: Replica
) -> None:
    account.fall_silent()
    calling = asyncio.create_task(replica.reserve(100))
    await account.is_asked.wait()

    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    account.answers.set()

    await replica.return_everything()
    assert account.pending == 0


async def test_an_account_that_does_not_answer_is_a_refusal_and_not_a_wait_for_ever(
    account: FakeAccount, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finpool.quota.reservation.allotments.ACCOUNT_SECONDS_MAX", 0.05)
    account.fall_silent()

    async with asyncio.timeout(5):
        refused = await asyncio.gather(*(replica.reserve(100) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in refused} == {QuotaUnavailable}

    account.answers.set()
    await replica.return_everything()
    assert account.pending == 0


async def test_requests_that_do_not_fit_wait_for_a_returning_lease_together(
    account: FakeAccount, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease on its way back never arrives: each is refused after one wait, not after those of all before it."""
    monkeypatch.setattr("finpool.quota.reservation.service.RETURN_WAIT_SECONDS", 0.2)
    account.has_granted_all_to("lease-returning")

    async with asyncio.timeout(5):
        refused = await asyncio.gather(*(replica.reserve(100) for _ in range(50)), return_exceptions=True)

    assert {type(each) for each in refused} == {InsufficientQuota}


async def test_a_request_is_served_out_of_a_lease_that_comes_back_while_it_waits(
    account: FakeAccount, replica: Replica
) -> None:
    account.has_granted_all_to("lease-returning")
    waiting = asyncio.create_task(replica.reserve(100))
    await account.has_answered.wait()
    assert not waiting.done(), "nothing is left, and the request waits for the lease"

    await account.hears_of_return("lease-returning")

    async with asyncio.timeout(5):
        assert (await waiting).amount_picos == 100


async def test_the_return_of_leases_goes_on_after_a_failure(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [RuntimeError("a defect")]
    returned = asyncio.Event()

    async def fail_once() -> None:
        if failures:
            raise failures.pop()
        returned.set()

    monkeypatch.setattr(replica.allotments, "return_unused", fail_once)
    running = asyncio.create_task(replica.quota.run(0.0))
    async with asyncio.timeout(10):
        await returned.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_lease_is_not_returned_under_a_request_that_took_it_while_another_was_written(
    account: FakeAccount, replica: Replica
) -> None:
    """Two idle leases go back one after the other; a request that comes in between must not find the second."""
    await replica.serve(60, cost=0)
    replica.allotments.leases.drain(None)
    await replica.serve(60, cost=0)
    arrived: list[Reservation] = []

    async def a_request_arrives() -> None:
        if not arrived:
            arrived.append(await replica.reserve(50))

    account.before_a_return_is_written = a_request_arrives
    await replica.allotments.return_unused()
    await account.record()
    replica.settle(arrived[0], 50)

    await replica.return_everything()
    assert (account.posted, account.pending) == (50, 0)


class Crowd:
    """Requests of random size and length whose callers may leave, and the cost of each."""

    def __init__(self, replica: Replica, chance: Random) -> None:
        self._replica = replica
        self._chance = chance
        self.costs: list[int] = []

    def come(self) -> list[asyncio.Task[None]]:
        """Let up to six requests come at once."""
        return [asyncio.create_task(self._one_request()) for _ in range(self._chance.randint(1, 6))]

    async def _one_request(self) -> None:
        amount = self._chance.randint(1, 120)
        reservation = await self._replica.reserve(amount)
        cost = 0
        try:
            for _ in range(self._chance.randint(0, 12)):
                await asyncio.sleep(0)
            cost = self._chance.randint(0, amount)
        finally:
            self._replica.settle(reservation, cost)
            self.costs.append(cost)


async def something_happens(
    account: FakeAccount, replica: Replica, requests: list[asyncio.Task[None]], chance: Random
) -> None:
    """A caller leaves, leases go back or out of use, the limit rises, or the recorder runs."""
    event = chance.choice(["a caller leaves", "leases return", "leases drain", "the limit rises", "the recorder runs"])
    if event == "a caller leaves":
        chance.choice(requests).cancel()
    elif event == "leases return":
        await replica.allotments.return_unused()
    elif event == "leases drain":
        replica.allotments.leases.drain(None)
    elif event == "the limit rises":
        account.limit += 40
    else:
        await account.record()


@pytest.mark.usefixtures("at_once")
async def test_any_order_of_events_ends_with_nothing_pending(account: FakeAccount, replica: Replica, seed: int) -> None:
    chance = random.Random(seed)
    crowd = Crowd(replica, chance)
    for _ in range(150):
        requests = crowd.come()
        for _ in range(chance.randint(0, 8)):
            await asyncio.sleep(0)
            await something_happens(account, replica, requests, chance)
        for ended in await asyncio.gather(*requests, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError | InsufficientQuota), ended
        assert account.posted + account.pending <= account.limit

    await replica.return_everything()
    assert account.pending == 0
    assert account.posted == sum(crowd.costs)
    assert replica.allotments.leases.unused(inf, inf) == [], "no lease is left with the replica"
