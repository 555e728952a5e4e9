"""Budgets over several replicas: never passed, spent to the last micro, by day, month and in all."""

import asyncio
import random

import pytest
from quota_replicas import QuotaReplica, QuotaReplicas

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import TenantId
from finpool.quota.errors import InsufficientQuota
from finpool.quota.reservation.service import Reservation
from finpool.quota.schemas import LimitKey, Scope, SetBy, operator_limit

BANK = TenantId("bank-a")
MICRO = 10**6
"""One micro in picos."""


async def is_served(replica: QuotaReplica, micros: int = 1) -> bool:
    try:
        reservation = await replica.reserve(micros * MICRO)
    except InsufficientQuota:
        return False
    await asyncio.sleep(0)
    replica.settle(reservation, micros * MICRO)
    return True


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("replicas", [1, 3])
async def test_of_50_parallel_calls_against_a_budget_that_holds_10_never_more_than_10_are_served(
    pool: QuotaReplicas, replicas: int
) -> None:
    await pool.add_bank(budget_total_micros=10)
    running = [await pool.add_replica(f"replica-{number}") for number in range(replicas)]
    served = sum(await asyncio.gather(*(is_served(running[number % replicas]) for number in range(50))))
    for replica in running:
        await replica.return_everything()
    assert served <= 10
    # What replicas held for requests to come is spent by whichever is asked next.
    served += sum([await is_served(running[0]) for _ in range(12)])
    await running[0].return_everything()
    account = await pool.account()
    assert (served, account.posted_micros, account.pending_micros) == (10, 10, 0)


async def test_the_last_micro_can_be_spent_by_one_replica_of_several(pool: QuotaReplicas) -> None:
    await pool.add_bank(budget_month_micros=1_000)
    one, two = await pool.add_replica("one"), await pool.add_replica("two")
    assert await is_served(one, 7)
    assert await is_served(two, 7)
    await one.return_everything()
    for _ in range(48):
        assert await is_served(two, 20)
    assert [await is_served(two, each) for each in (20, 20, 6, 1)] == [True, False, True, False]
    await two.return_everything()
    assert (await pool.account()).posted_micros == 1_000


async def test_a_share_of_everything_never_rounds_above_it(pool: QuotaReplicas) -> None:
    whole = await pool.add_replica(share_of_rest=1.0)
    micros = next(each for each in range(2**50, 2**50 + 999) if int(each * MICRO * 1.0) > each * MICRO)
    await pool.add_bank(budget_total_micros=micros)
    await whole.reserve(micros * MICRO // 8)
    await whole.renewed()
    (budget,) = await pool.rows("SELECT pending_picos FROM budget")
    assert budget["pending_picos"] == micros * MICRO


@pytest.mark.usefixtures("no_waiting")
async def test_posted_and_pending_never_pass_the_tightest_budget_whatever_the_replicas_do(
    pool: QuotaReplicas, seed: int
) -> None:
    chance = random.Random(seed)
    owners = LimitKey(SetBy.TENANT, Scope.PROJECT, "main")
    await pool.add_bank(budget_total_micros=400, budget_day_micros=300)
    await pool.set_limits(owners, budget_month_micros=250)
    running = [await pool.add_replica(f"replica-{number}", idle_seconds=0.0) for number in range(3)]
    held, spent = [], 0
    for _ in range(30):
        asked = [(chance.choice(running), chance.randint(1, 30) * MICRO) for _ in range(4)]
        results = await asyncio.gather(*(each.reserve(amount) for each, amount in asked), return_exceptions=True)
        assert all(isinstance(each, InsufficientQuota) for each in results if isinstance(each, BaseException))
        held += [(each, *pair) for each, pair in zip(results, asked, strict=True) if isinstance(each, Reservation)]
        while held and chance.random() < 0.7:
            reservation, replica, amount = held.pop(chance.randrange(len(held)))
            cost = chance.randint(0, amount)
            replica.settle(reservation, cost)
            spent += cost
        if chance.random() < 0.3:
            replica = chance.choice(running)
            await replica.renewed()
            await replica.allotments.return_unused()
            await replica.record()
        for each in await pool.rows("SELECT period, posted_picos + pending_picos AS taken FROM budget"):
            assert each["taken"] <= {"total": 400, "day": 300, "month": 250}[each["period"]] * MICRO, each
    for reservation, replica, _ in held:
        replica.quota.release(reservation)
    for replica in running:
        await replica.return_everything()
    taken = await pool.rows("SELECT DISTINCT posted_picos, pending_picos FROM budget")
    assert taken == [{"posted_picos": spent, "pending_picos": 0}]
    assert 100 * MICRO < spent <= 250 * MICRO


@pytest.mark.usefixtures("no_waiting")
async def test_a_lowered_budget_acts_on_what_is_leased_already(pool: QuotaReplicas) -> None:
    await pool.add_bank(budget_total_micros=1_000)
    replica = await pool.add_replica()
    assert await is_served(replica, 10)
    assert replica.allotments.leases._current
    await pool.set_limits(operator_limit(BANK), budget_total_micros=10)
    assert not await is_served(replica, 1)
    await replica.return_everything()
    assert not await is_served(replica, 1)
    account = await pool.account()
    assert (account.posted_micros, account.pending_micros) == (10, 0)


async def test_a_call_that_was_cancelled_while_its_lease_was_asked_for_holds_nothing(
    pool: QuotaReplicas, seed: int
) -> None:
    chance = random.Random(seed)
    await pool.add_bank(budget_total_micros=10**6)
    replica = await pool.add_replica(share_of_rest=0.00001)
    tasks = [asyncio.create_task(is_served(replica, 5)) for _ in range(40)]
    for _ in tasks:
        for _ in range(chance.randint(0, 100)):
            await asyncio.sleep(0)
        if chance.random() < 0.6:
            chance.choice(tasks).cancel()
    served = [each for each in await asyncio.gather(*tasks, return_exceptions=True) if each is True]
    assert 0 < len(served) < len(tasks)
    await replica.return_everything()
    account = await pool.account()
    assert account.pending_micros == 0
    assert 5 * len(served) <= account.posted_micros < 5 * len(tasks)


async def test_with_the_account_out_of_reach_nothing_is_admitted_beyond_what_is_held(
    pool: QuotaReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.add_bank(budget_total_micros=1_000)
    replica = await pool.add_replica()
    held = (await replica.reserve(MICRO)).lease_ids[0]
    await replica.renewed()
    left = replica.allotments.leases._by_id[held].free // MICRO

    async def unreachable(*_: object) -> None:
        raise ConnectionError("the counter store is down")

    monkeypatch.setattr("finpool.quota.grant.grants.ask", unreachable)
    outcomes = await asyncio.gather(*(replica.reserve(MICRO) for _ in range(left + 20)), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, DomainError)]
    assert len(outcomes) - len(refused) == left
    assert {each.code for each in refused} == {"quota_unavailable"}


async def test_a_prepaid_bank_spends_what_it_paid_in_and_not_a_micro_more(pool: QuotaReplicas) -> None:
    await pool.add_bank(budget_month_micros=10**9)
    replica = await pool.add_replica()
    async with pool.database("operator").for_tenant(BANK) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE account SET payment = 'prepaid', funded_picos = 12 * 1000000")
    await replica.hear_of_changes()
    assert [await is_served(replica, 5) for _ in range(3)] == [True, True, False]
    with pytest.raises(InsufficientQuota, match=r"prepaid budget .* 2 micros left here, 5 needed"):
        await replica.reserve(5 * MICRO)
    assert [await is_served(replica, 2), await is_served(replica, 1)] == [True, False]
    async with pool.database("operator").for_tenant(BANK) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE account SET funded_picos = funded_picos + 1000000")
    await replica.hear_of_changes()
    assert [await is_served(replica, 1), await is_served(replica, 1)] == [True, False]
    await replica.return_everything()
    account = await pool.account()
    assert (account.funded_micros, account.posted_micros, account.pending_micros) == (13, 13, 0)
