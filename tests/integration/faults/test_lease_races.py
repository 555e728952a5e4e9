"""What may happen between a lease's growth and its return, on an account that a test can hold up or break."""

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy.exc import OperationalError

from finpool.kernel.ids import ReplicaId, TenantId
from finpool.quota import leases as leases_module
from finpool.quota.errors import InsufficientQuota, QuotaUnavailable
from finpool.quota.leases import Leases
from finpool.quota.repository import Holder

BANK = TenantId("bank-a")


@dataclass
class FakeAccount:
    """The account of one tenant behind the repository's functions, with the rules of the tables; and a spool."""

    limit: int
    posted: int = 0
    pending: int = 0
    granted: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    spool: list[tuple[str, int | None]] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    answer_is_lost: bool = False

    def __post_init__(self):
        self.answers.set()
        self._locked = asyncio.Lock()

    @asynccontextmanager
    async def for_tenant(self, tenant_id):
        await self.answers.wait()
        async with self._locked:
            yield self
            await asyncio.sleep(0)
        if self.answer_is_lost:
            raise OperationalError("COMMIT", {}, ConnectionError("gone"))

    async def rest_picos(self, session, tenant_id):
        await asyncio.sleep(0)
        return max(0, self.limit - self.posted - self.pending)

    async def grant(self, session, tenant_id, lease_id, holder, amount):
        await asyncio.sleep(0)
        self.granted[lease_id] = self.granted.get(lease_id, 0) + amount
        self.pending += amount

    async def other_open_leases(self, session, tenant_id, holder, except_id):
        return len(self.granted.keys() - self.closed - {except_id})

    async def give_back(self, tenant_id, lease_id):
        await asyncio.sleep(0)
        self.spool.append((lease_id, None))

    async def record(self):
        """Apply what the spool holds, as the recorder does: post a cost, or close a lease that is open."""
        async with self._locked:
            while self.spool:
                lease_id, cost = self.spool.pop(0)
                held = max(0, self.granted.get(lease_id, 0) - self.spent.get(lease_id, 0))
                if cost is not None:
                    assert lease_id not in self.closed
                    self.spent[lease_id] = self.spent.get(lease_id, 0) + cost
                    self.posted += cost
                    self.pending -= min(held, cost)
                elif lease_id in self.granted and lease_id not in self.closed:
                    self.closed.add(lease_id)
                    self.pending -= held


@pytest.fixture
def account(monkeypatch):
    fake = FakeAccount(limit=1_000)
    for name in ("rest_picos", "grant", "other_open_leases"):
        monkeypatch.setattr(leases_module.repository, name, getattr(fake, name))
    return fake


@pytest.fixture
def leases(account):
    holder = Holder(ReplicaId("one"), "spool")
    return Leases(account, holder, account.give_back, share_of_rest=0.1, idle_seconds=0.0)


async def return_everything(leases, account):
    leases.drain(None)
    await leases.return_unused()
    await account.record()


async def test_a_lease_that_is_growing_is_not_returned_meanwhile(account, leases):
    lease = await leases.take(BANK, 100)
    leases.settle(lease.lease_id, 100, 0)
    account.answers.clear()
    taking = asyncio.create_task(leases.take(BANK, 500))
    await asyncio.sleep(0.01)
    await leases.return_unused()
    await account.record()
    account.answers.set()
    lease = await taking
    leases.settle(lease.lease_id, 500, 0)
    await return_everything(leases, account)
    assert account.pending == 0


async def test_a_grant_whose_answer_was_lost_goes_back(account, leases):
    account.answer_is_lost = True
    with pytest.raises(QuotaUnavailable):
        await leases.take(BANK, 100)
    account.answer_is_lost = False
    assert account.pending == 100
    await return_everything(leases, account)
    assert account.pending == 0


async def test_a_caller_that_leaves_while_the_account_answers_holds_nothing(account, leases):
    account.answers.clear()
    taking = asyncio.create_task(leases.take(BANK, 100))
    await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    account.answers.set()
    await asyncio.sleep(0.01)
    await return_everything(leases, account)
    assert account.pending == 0


async def test_an_account_that_does_not_answer_is_a_refusal_and_not_a_wait_for_ever(account, leases, monkeypatch):
    monkeypatch.setattr(leases_module, "_ACCOUNT_SECONDS_MAX", 0.05)
    account.answers.clear()
    async with asyncio.timeout(5):
        refused = await asyncio.gather(*(leases.take(BANK, 100) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in refused} == {QuotaUnavailable}
    account.answers.set()
    await asyncio.sleep(0.01)
    await return_everything(leases, account)
    assert account.pending == 0


async def test_requests_that_do_not_fit_wait_for_a_returning_lease_together(account, leases, monkeypatch):
    """The lease on its way back never arrives: each is refused after one wait, not after those of all before it."""
    monkeypatch.setattr(leases_module, "_RETURN_WAIT_SECONDS", 0.2)
    account.granted["lease-returning"], account.pending = 1_000, 1_000
    async with asyncio.timeout(3):
        refused = await asyncio.gather(*(leases.take(BANK, 100) for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in refused} == {InsufficientQuota}


async def test_a_share_of_everything_never_rounds_above_it(account):
    holder = Holder(ReplicaId("one"), "spool")
    whole = Leases(account, holder, account.give_back, share_of_rest=1.0, idle_seconds=0.0)
    account.limit = next(limit for limit in range(2**60, 2**60 + 999) if int(limit * 1.0) > limit)
    await whole.take(BANK, 100)
    assert account.pending == account.limit


async def test_the_return_of_leases_goes_on_after_a_failure(account, leases, monkeypatch):
    failures = [RuntimeError("a defect")]

    async def fail_once():
        if failures:
            raise failures.pop()
        done.set()

    done = asyncio.Event()
    monkeypatch.setattr(leases, "return_unused", fail_once)
    running = asyncio.create_task(leases.run())
    async with asyncio.timeout(10):
        await done.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def one_request(leases, account, chance, served):
    amount = chance.randint(1, 120)
    lease = await leases.take(BANK, amount)
    cost = 0
    try:
        await asyncio.sleep(chance.random() * 0.002)
        cost = chance.randint(0, amount)
    finally:
        account.spool.append((lease.lease_id, cost))
        leases.settle(lease.lease_id, amount, cost)
        served.append(cost)


async def test_any_order_of_events_ends_with_nothing_pending(account, leases, seed, monkeypatch):
    monkeypatch.setattr(leases_module, "_RETURN_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(leases_module, "_RETURN_POLL_SECONDS", 0.001)
    chance = random.Random(seed)
    served: list[int] = []
    for _ in range(150):
        tasks = [asyncio.create_task(one_request(leases, account, chance, served)) for _ in range(chance.randint(1, 6))]
        for _ in range(chance.randint(0, 8)):
            await asyncio.sleep(0)
            action = chance.randint(0, 4)
            if action == 0:
                chance.choice(tasks).cancel()
            elif action == 1:
                await leases.return_unused()
            elif action == 2:
                leases.drain(BANK)
            elif action == 3:
                account.limit += 40
            else:
                await account.record()
        for each in await asyncio.gather(*tasks, return_exceptions=True):
            assert each is None or isinstance(each, asyncio.CancelledError | InsufficientQuota), each
        assert account.posted + account.pending <= account.limit
    await asyncio.sleep(0.01)
    await return_everything(leases, account)
    assert account.pending == 0
    assert account.posted == sum(served)
    assert not leases._by_id
