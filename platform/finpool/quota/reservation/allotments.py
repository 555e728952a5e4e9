"""This replica's leases and rate allotments: get them from the account, renew them ahead, and return them."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from asyncpg import PostgresError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.logs import logger
from finpool.quota.errors import QuotaUnavailable
from finpool.quota.grant import grants
from finpool.quota.grant.heartbeat import Heartbeat
from finpool.quota.grant.rate_share_table import Holder, shorten_expiry
from finpool.quota.grant.schemas import BudgetNeed, Grants, RateNeed
from finpool.quota.limits import Applicable, Demand
from finpool.quota.models import Lease
from finpool.quota.periods import RATE_SHARE_SECONDS
from finpool.quota.reservation import refusals
from finpool.quota.reservation.leases import HeldLease, Leases, ReturnLease
from finpool.quota.reservation.rate_allotments import RateAllotments
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import BudgetKey, RateKey

ACCOUNT_SECONDS_MAX = 5.0
AHEAD_SECONDS = 0.25
_TENDED_AT_ONCE = 100
_DATABASE_ERRORS = (SQLAlchemyError, PostgresError, OSError, TimeoutError)
_log = logger("quota.allotments")


class Allotments:
    """The leases and rate allotments of one replica, and its requests to the accounts."""

    def __init__(
        self, database: Database, holder: Holder, give_back: ReturnLease, *, share_of_rest: float, idle_seconds: float
    ) -> None:
        self._database = database
        self._holder = holder
        self._give_back = give_back
        self._share_of_rest = share_of_rest
        self._idle_seconds = idle_seconds
        self._asking: dict[TenantId, asyncio.Lock] = {}
        self._ahead: dict[tuple[TenantId, BudgetKey | RateKey], float] = {}
        self._refusals = refusals.RecentRefusals()
        self._changes: dict[TenantId, int] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self.leases = Leases()
        self.heartbeat = Heartbeat(database, holder)
        self.rates = RateAllotments(database, holder, share_of_rest=share_of_rest, idle_seconds=idle_seconds)

    def relimit(self, tenant_id: TenantId, limits: dict[RateKey, int]) -> None:
        """Apply changed rate limits at once, and forget refusals under the old ones."""
        self.rates.relimit(tenant_id, limits)
        self._refusals.forget(tenant_id)
        self._ahead = {each: time for each, time in self._ahead.items() if each[0] != tenant_id}

    def drain(self, tenant_id: TenantId, keys: Sequence[BudgetKey]) -> None:
        """Stop new reservations on the leases of changed budgets, including leases whose grant is still running."""
        self._changes[tenant_id] = self._changes.get(tenant_id, 0) + 1
        self.leases.drain(tenant_id, keys)

    async def ask(self, demand: Demand) -> None:
        """Request a request's missing parts from the account; return when the reservation may be tried again.

        Raises the refusal, `LeasesReturning` if a retry may succeed, and `QuotaUnavailable` without an answer in time.
        """
        asking = self._ask_in_turn(demand, ahead=False)
        try:
            # Shielded: if a caller left, the account's view of a lease would differ from this replica's.
            async with asyncio.timeout(ACCOUNT_SECONDS_MAX):
                await asyncio.shield(self._start(asking))
        except refusals.RateShort as short:
            raise refusals.of_rate(short, demand.tokens) from None  # In the step that reads the rest for the headers.
        except _DATABASE_ERRORS as error:
            _log.warning("the account did not answer a request for leases", error=type(error).__name__)
            raise QuotaUnavailable from error

    def renew_ahead(self, demand: Demand, leases: Sequence[HeldLease], allotments: Sequence[RateAllotment]) -> None:
        """Grow leases and rate allotments in the background before the next requests would have to wait."""
        now = monotonic_seconds()
        due: list[BudgetKey | RateKey] = [
            lease.key for lease in leases if self.leases.runs_low(lease, demand.amount_picos, now)
        ]
        due += [
            allotment.key
            for allotment in allotments
            if allotment.amount < min(allotment.room, allotment.limit)
            and not allotment.fits(2 * allotment.counted(demand.tokens), now)
        ]
        tenant_id = demand.tenant_id
        if any(now >= self._ahead.get((tenant_id, key), 0.0) for key in due):
            for key in due:
                self._ahead[(tenant_id, key)] = now + AHEAD_SECONDS
            applicable = Applicable(
                tuple(lease.key for lease in leases),
                tuple((allotment.key, allotment.limit) for allotment in allotments),
                funded=True,
            )
            self._start(self._ask_in_turn(replace(demand, applicable=applicable), ahead=True))

    async def return_unused(self) -> None:
        """Return every draining or idle lease without a reservation, and shrink unused rate allotments."""
        now = monotonic_seconds()
        unused = self.leases.unused(now - self._idle_seconds, now)
        for lease in unused:  # Withdraw all first: while one return is written, a request could reserve from the next.
            self.leases.withdraw(lease)
        try:
            for lease in unused:
                await self._give_back(lease.tenant_id, lease.lease_id)
                self.leases.forget(lease)
        finally:  # A spool that refuses must not let the rate allotments expire.
            await self._tend_rates()

    async def wait_for_answers(self) -> None:
        """Wait for the account's running answers: a lease granted later could not be returned."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=ACCOUNT_SECONDS_MAX)

    async def _tend_rates(self) -> None:
        """Tend the rates of all tenants, many at once; one whose account is being asked comes in the next round."""
        tenants = self.rates.tenants()
        for start in range(0, len(tenants), _TENDED_AT_ONCE):
            free = [each for each in tenants[start : start + _TENDED_AT_ONCE] if not self._lock(each).locked()]
            async with AsyncExitStack() as locks:
                for tenant_id in free:
                    await locks.enter_async_context(self._lock(tenant_id))
                try:
                    async with asyncio.timeout(ACCOUNT_SECONDS_MAX):
                        await self.rates.tend(free)
                except _DATABASE_ERRORS as error:  # The account counts more than is used, which is safe.
                    _log.warning("rate shares could not be written", error=type(error).__name__)
            await asyncio.sleep(0)  # Requests go on between two parts.

    async def recover(self) -> None:
        """Return the open leases of this replica's earlier run; its spool already has every settlement.

        Leases of another spool stay open: that spool is lost, and its settlements are too.
        """
        async with self._database.across_tenants() as session:
            await shorten_expiry(session, self._holder.replica_id)
            await self.heartbeat.light(session)
            query = select(Lease).where(
                col(Lease.replica_id) == self._holder.replica_id, col(Lease.closed_at).is_(None)
            )
            left_over = list((await session.execute(query)).scalars())
        for lease in left_over:
            if lease.spool_id == self._holder.spool_id:
                await self._give_back(TenantId(lease.tenant_id), LeaseId(lease.lease_id))
            else:
                _log.error(
                    "lease of a lost spool stays held; decide with `finpool lease charge` or `finpool lease release`",
                    tenant_id=lease.tenant_id,
                    lease_id=lease.lease_id,
                )

    async def _ask_in_turn(self, demand: Demand, *, ahead: bool) -> None:
        # The limit includes the wait for earlier callers: after it the caller is already refused.
        async with asyncio.timeout(ACCOUNT_SECONDS_MAX), self._lock(demand.tenant_id):
            now = monotonic_seconds()
            leases = self.leases.needs(demand, now, ahead=ahead)
            rates = self.rates.needs(demand, now, ahead=ahead)
            refusals.require_room(rates, now)
            self._refusals.require_none(demand, [need for _, need in leases], now)
            if not (leases or rates):
                return
            limits = [allotment.limit for allotment, _ in rates]
            granted = await self._grow(demand.tenant_id, leases, [need for _, need in rates], now)
            if granted.lifted:
                await asyncio.sleep(refusals.REFUSAL_SECONDS)  # The change feed will soon bring the lifted limit.
                return
            if granted.outlived:
                return  # The request tries again at once, with new leases in place of these.
            for (allotment, _), rest, limit in zip(rates, granted.rates, limits, strict=True):
                allotment.room, allotment.asked_at = rest.room, now
                if granted.whole:
                    allotment.amount = 0 if allotment.limit < limit else rest.amount  # 0: it was lowered.
                    allotment.written, allotment.valid_until = rest.amount, now + RATE_SHARE_SECONDS
            self._require_whole(demand, granted, [allotment for allotment, _ in rates], now)

    async def _grow(
        self, tenant_id: TenantId, needs: Sequence[tuple[HeldLease, BudgetNeed]], rates: Sequence[RateNeed], now: float
    ) -> Grants:
        leases, budgets = [lease for lease, _ in needs], [need for _, need in needs]
        # Growing leases must not be returned: a grant that arrives after the return would stay held for ever.
        for lease in leases:
            lease.growing += 1
        granted: Grants | None = None
        changes = self._changes.get(tenant_id, 0)
        try:
            async with self._database.for_tenant(tenant_id) as session:
                granted = await grants.ask(session, tenant_id, self._holder, budgets, rates, self._share_of_rest)
        except BaseException:
            if granted is not None:  # The commit may have succeeded without an answer, so the grant may be real.
                for lease in leases:
                    self.leases.withdraw(lease)
            raise
        finally:
            for lease in leases:
                lease.growing -= 1
        for lease in leases:
            if lease.lease_id in granted.outlived:
                self.leases.withdraw(lease)
        if granted.whole:
            self._refusals.outdate(tenant_id, [need.key for need in budgets])
            for lease, rest in zip(leases, granted.budgets, strict=True):
                self.leases.grow(lease, rest, now)
                if self._changes.get(tenant_id, 0) != changes:
                    self.leases.withdraw(lease)  # The grant may follow the budget before its change.
        return granted

    def _require_whole(self, demand: Demand, granted: Grants, allotments: Sequence[RateAllotment], now: float) -> None:
        """Raise the refusal of the budget or rate that did not cover the demand."""
        budget, rate = granted.short_budget, granted.short_rate
        if budget is not None:
            self._refusals.add(demand.tenant_id, budget, now, returning=granted.returning)
            raise refusals.of_budget(budget, demand.amount_picos, returning=granted.returning)
        if rate is not None:
            allotment = next(each for each in allotments if each.key == rate.need.key)
            raise refusals.RateShort(allotment, now)

    def _lock(self, tenant_id: TenantId) -> asyncio.Lock:
        """Return the lock that makes this replica's requests to a tenant's account serial."""
        return self._asking.setdefault(tenant_id, asyncio.Lock())

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._answered)
        return task

    def _answered(self, task: "asyncio.Future[None]") -> None:
        """Forget a finished request to the account; log only unexpected errors, as its caller handles the others."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        expected = (DomainError, refusals.LeasesReturning, refusals.RateShort, *_DATABASE_ERRORS)
        if error is not None and not isinstance(error, expected):
            _log.error("the account's answer could not be used", error=type(error).__name__)
