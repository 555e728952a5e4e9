"""What may happen between a lease's growth and its return, on an account that a test can hold up or break."""

import asyncio
import random

import pytest

from finpool.quota.errors import InsufficientQuota, QuotaUnavailable


async def test_a_lease_that_is_growing_is_not_returned_meanwhile(account, replica):
    replica.settle(await replica.reserve(100), 0)
    await replica.renewed()
    account.answers.clear()
    taking = asyncio.create_task(replica.reserve(500))
    await asyncio.sleep(0.01)
    await replica.allotments.return_unused()
    await account.record()
    account.answers.set()
    replica.settle(await taking, 0)
    await replica.return_everything()
    assert account.pending == 0


async def test_a_grant_whose_answer_was_lost_goes_back(account, replica):
    account.answer_is_lost = True
    with pytest.raises(QuotaUnavailable):
        await replica.reserve(100)
    account.answer_is_lost = False
    assert account.pending == 100
    await replica.return_everything()
    assert account.pending == 0


async def test_a_caller_that_leaves_while_the_account_answers_holds_nothing(account, replica):
    account.answers.clear()
    taking = asyncio.create_task(replica.reserve(100))
    await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    account.answers.set()
    await replica.return_everything()
    assert account.pending == 0


async def test_an_account_that_does_not_answer_is_a_refusal_and_not_a_wait_for_ever(account, replica, monkeypatch):
    monkeypatch.setattr("finpool.quota.reservation.allotments.ACCOUNT_SECONDS_MAX", 0.05)
    account.answers.clear()
    async with asyncio.timeout(5):
        refused = await asyncio.gather(*(replica.reserve(100) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in refused} == {QuotaUnavailable}
    account.answers.set()
    await replica.return_everything()
    assert account.pending == 0


async def test_requests_that_do_not_fit_wait_for_a_returning_lease_together(account, replica, monkeypatch):
    """The lease on its way back never arrives: each is refused after one wait, not after those of all before it."""
    monkeypatch.setattr("finpool.quota.reservation.service.RETURN_WAIT_SECONDS", 0.2)
    account.granted["lease-returning"], account.pending = 1_000, 1_000
    async with asyncio.timeout(5):
        refused = await asyncio.gather(*(replica.reserve(100) for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in refused} == {InsufficientQuota}


async def test_a_request_is_served_out_of_a_lease_that_comes_back_while_it_waits(account, replica):
    account.granted["lease-returning"], account.pending = 1_000, 1_000
    taking = asyncio.create_task(replica.reserve(100))
    await asyncio.sleep(0.01)
    account.spool.append(("lease-returning", None))
    await account.record()
    async with asyncio.timeout(5):
        assert (await taking).amount_picos == 100


async def test_the_return_of_leases_goes_on_after_a_failure(replica, monkeypatch):
    failures = [RuntimeError("a defect")]

    async def fail_once():
        if failures:
            raise failures.pop()
        done.set()

    done = asyncio.Event()
    monkeypatch.setattr(replica.allotments, "return_unused", fail_once)
    running = asyncio.create_task(replica.quota.run(0.0))
    async with asyncio.timeout(10):
        await done.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_lease_is_not_returned_under_a_request_that_took_it_while_another_was_written(
    account, replica, monkeypatch
):
    """Two idle leases go back one after the other; a request that comes in between must not find the second."""
    replica.settle(await replica.reserve(60), 0)
    await replica.renewed()
    replica.allotments.leases.drain(None)
    replica.settle(await replica.reserve(60), 0)
    await replica.renewed()
    write, reserved = account.give_back, []

    async def write_slowly(tenant_id, lease_id):
        if not reserved:
            reserved.append(await replica.reserve(50))
        await write(tenant_id, lease_id)

    monkeypatch.setattr(replica.allotments, "_give_back", write_slowly)
    await replica.allotments.return_unused()
    await account.record()
    replica.settle(reserved[0], 50)
    await replica.return_everything()
    assert (account.posted, account.pending) == (50, 0)


async def one_request(replica, chance, served):
    amount = chance.randint(1, 120)
    reservation = await replica.reserve(amount)
    cost = 0
    try:
        await asyncio.sleep(chance.random() * 0.002)
        cost = chance.randint(0, amount)
    finally:
        replica.settle(reservation, cost)
        served.append(cost)


@pytest.mark.usefixtures("at_once")
async def test_any_order_of_events_ends_with_nothing_pending(account, replica, seed):
    chance = random.Random(seed)
    served: list[int] = []
    for _ in range(150):
        tasks = [asyncio.create_task(one_request(replica, chance, served)) for _ in range(chance.randint(1, 6))]
        for _ in range(chance.randint(0, 8)):
            await asyncio.sleep(0)
            action = chance.randint(0, 4)
            if action == 0:
                chance.choice(tasks).cancel()
            elif action == 1:
                await replica.allotments.return_unused()
            elif action == 2:
                replica.allotments.leases.drain(None)
            elif action == 3:
                account.limit += 40
            else:
                await account.record()
        for each in await asyncio.gather(*tasks, return_exceptions=True):
            assert each is None or isinstance(each, asyncio.CancelledError | InsufficientQuota), each
        assert account.posted + account.pending <= account.limit
    await replica.return_everything()
    assert account.pending == 0
    assert account.posted == sum(served)
    assert not replica.allotments.leases._by_id
