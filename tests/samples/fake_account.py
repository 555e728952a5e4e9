"""One bank's account behind the functions of `grants`, without a database, that a test can hold up or break."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy.exc import OperationalError

from finpool.kernel.ids import LeaseId, ReplicaId, RequestId, TenantId, new_id
from finpool.quota.grant.rate_share_table import Holder, RateClaim
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest, Grants, RateNeed, RateRest
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.limits import TenantLimits
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota, Reservation
from finpool.quota.schemas import LimitKey, Limits, Scope, SetBy, Subject

BANK = TenantId("bank-a")
KEY = LimitKey(SetBy.OPERATOR, Scope.TENANT, BANK)
SUBJECT = Subject(BANK, "main", "key_1", "model")


@dataclass
class FakeAccount:
    """The account of one tenant with one budget, by the rules of the tables, in picos; and a spool."""

    limit: int = 1_000
    posted: int = 0
    pending: int = 0
    granted: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    spool: list[tuple[str, int | None]] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    has_answered: asyncio.Event = field(default_factory=asyncio.Event)
    answer_is_lost: bool = False
    before_a_return_is_written: Callable[[], Awaitable[None]] | None = None
    tells_of_returns: bool = True
    asked: list[int] = field(default_factory=list)
    written: list[Sequence[RateClaim]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers.set()
        self._locked = asyncio.Lock()

    def fall_silent(self) -> None:
        """Give no answer until `answers` is set again."""
        self.answers.clear()
        self.is_asked.clear()

    def has_granted_all_to(self, lease_id: str) -> None:
        """Let the whole budget be out on a lease that is on its way back."""
        self.granted[lease_id] = self.pending = self.limit

    async def hears_of_return(self, lease_id: str) -> None:
        """Let the return of a lease arrive."""
        self.spool.append((lease_id, None))
        await self.record()

    @asynccontextmanager
    async def for_tenant(self, tenant_id: TenantId) -> AsyncIterator[Self]:
        self.is_asked.set()
        await self.answers.wait()
        async with self._locked:
            yield self
            await asyncio.sleep(0)
        self.has_answered.set()
        if self.answer_is_lost:
            raise OperationalError("COMMIT", {}, ConnectionError("gone"))

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[Self]:
        yield self

    async def write_claims(self, session: object, holder: Holder, claims: Sequence[RateClaim]) -> None:
        """Stand in for the function of that name."""
        self.written.append(claims)

    async def ask(
        self,
        session: object,
        tenant_id: TenantId,
        holder: Holder,
        budgets: Sequence[BudgetNeed],
        rates: Sequence[RateNeed],
        share_of_rest: float,
    ) -> Grants:
        """Stand in for `grants.ask`: rates are given as wanted, this account has one replica."""
        await asyncio.sleep(0)
        rests = tuple(RateRest(need, 1_000, max(need.needed, need.wanted)) for need in rates)
        if not budgets:
            return Grants((), rests)
        (need,) = budgets
        self.asked.append(need.needed_picos)
        rest = max(0, self.limit - self.posted - self.pending)
        amount = min(rest, max(need.needed_picos, min(need.wanted_picos, int(rest * share_of_rest))))
        if need.needed_picos > rest:
            others = self.granted.keys() - self.closed - {need.lease_id}
            returning = self.tells_of_returns and bool(others)
            return Grants((BudgetRest(need, self.limit, rest, 0, None),), rests, returning=returning)
        if amount:
            self.granted[need.lease_id] = self.granted.get(need.lease_id, 0) + amount
            self.pending += amount
        return Grants((BudgetRest(need, self.limit, rest, amount, None),), rests)

    async def give_back(self, tenant_id: TenantId, lease_id: LeaseId) -> None:
        if self.before_a_return_is_written is not None:
            await self.before_a_return_is_written()
        await asyncio.sleep(0)
        self.spool.append((lease_id, None))

    async def record(self) -> None:
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


class FixedLimits(LimitDirectory):
    """One bank's limits, without a database."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._only = TenantLimits(BANK, {KEY: limits}, prepaid=False)

    def of(self, tenant_id: TenantId) -> TenantLimits:
        return self._only


class Replica:
    """One inference replica's part of the account; its spool is in the account's memory."""

    def __init__(self, account: FakeAccount, *, share_of_rest: float = 0.1, **rates: Any) -> None:
        holder = Holder(ReplicaId("one"), "spool", "run")
        database: Any = account
        self.account = account
        self.allotments = Allotments(database, holder, account.give_back, share_of_rest=share_of_rest, idle_seconds=0.0)
        self.quota = Quota(FixedLimits(Limits(budget_total_micros=1, **rates)), self.allotments)

    async def reserve(self, amount: int, tokens: int = 1) -> Reservation:
        return await self.quota.reserve(SUBJECT, RequestId(new_id("req")), amount_picos=amount, tokens=tokens)

    def settle(self, reservation: Reservation, cost: int) -> None:
        """Settle as the gateway does: the cost is in the spool before the reservation ends."""
        for lease_id in reservation.lease_ids:
            self.account.spool.append((lease_id, cost))
        self.quota.settle(reservation, cost_picos=cost, tokens=reservation.tokens)

    async def serve(self, amount: int, cost: int) -> None:
        """Reserve and settle, and wait for the leases that this had renewed ahead."""
        self.settle(await self.reserve(amount), cost)
        await self.renewed()

    async def renewed(self) -> None:
        """Wait for the renewals in the background."""
        await self.allotments.wait_for_answers()

    async def return_everything(self) -> None:
        await self.renewed()
        self.allotments.leases.drain(None)
        await self.allotments.return_unused()
        await self.account.record()
