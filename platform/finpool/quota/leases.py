"""The part of each tenant's budget that this replica holds: reservations come out of it without a database read.

A lease is a durable transfer from the tenant's account to this replica, so the sum over replicas never passes the
limit. It goes back through the spool, behind every settlement that was paid out of it: the account can only get
back what is truly left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database import Database
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import LeaseId, TenantId, new_id
from finpool.kernel.logs import logger
from finpool.quota import repository
from finpool.quota.errors import InsufficientQuota, QuotaUnavailable
from finpool.quota.repository import Holder

ReturnLease = Callable[[TenantId, LeaseId], Awaitable[None]]
"""Writes the return of a lease into the spool; the recorder closes the lease when it gets there."""

_RETURN_WAIT_SECONDS = 2.0
_RETURN_POLL_SECONDS = 0.05
_ACCOUNT_SECONDS_MAX = 5.0
_log = logger("quota.leases")


@dataclass(slots=True)
class HeldLease:
    """One lease as this replica sees it; amounts in picos.

    `draining`: no new reservation may use it. `growing`: how many times the account is being asked for more just now.
    """

    tenant_id: TenantId
    lease_id: LeaseId
    granted: int = 0
    reserved: int = 0
    spent: int = 0
    reservations: int = 0
    used_at: float = field(default_factory=monotonic_seconds)
    draining: bool = False
    growing: int = 0

    @property
    def free(self) -> int:
        """What a new reservation may take."""
        return self.granted - self.reserved - self.spent


class Leases:
    """Every lease this replica holds."""

    def __init__(
        self, database: Database, holder: Holder, give_back: ReturnLease, *, share_of_rest: float, idle_seconds: float
    ) -> None:
        self._database = database
        self._holder = holder
        self._give_back = give_back
        self._share_of_rest = share_of_rest
        self._idle_seconds = idle_seconds
        self._current: dict[TenantId, HeldLease] = {}
        self._by_id: dict[LeaseId, HeldLease] = {}
        self._growing: dict[TenantId, asyncio.Lock] = {}

    async def take(self, tenant_id: TenantId, amount_picos: int) -> HeldLease:
        """Reserve `amount_picos`, growing the lease from the account if need be.

        Raises `InsufficientQuota` if the budget does not cover it, `QuotaUnavailable` if the account does not answer.
        """
        lease = self._current.get(tenant_id)
        if lease is not None and lease.free >= amount_picos:
            return self._reserve(lease, amount_picos)
        # The time begins before the lock: a request does not also wait for as long as each of those ahead of it.
        deadline = monotonic_seconds() + _RETURN_WAIT_SECONDS
        try:
            async with asyncio.timeout(_ACCOUNT_SECONDS_MAX), self._growing.setdefault(tenant_id, asyncio.Lock()):
                return await self._grow_and_reserve(tenant_id, amount_picos, deadline)
        except (SQLAlchemyError, PostgresError, OSError, TimeoutError) as error:
            _log.warning("the account could not be asked for a lease", error=type(error).__name__)
            raise QuotaUnavailable from error

    def settle(self, lease_id: LeaseId, amount_picos: int, cost_picos: int) -> None:
        """End a reservation of `amount_picos` that cost `cost_picos`; the difference is free again at once."""
        lease = self._by_id[lease_id]
        lease.reserved -= amount_picos
        lease.spent += cost_picos
        lease.reservations -= 1
        lease.used_at = monotonic_seconds()

    def drain(self, tenant_id: TenantId | None) -> None:
        """Let no new reservation use a tenant's lease (all leases for None): its limit changed, or we are leaving."""
        for held in [tenant_id] if tenant_id is not None else list(self._current):
            lease = self._current.pop(held, None)
            if lease is not None:
                lease.draining = True

    async def return_unused(self) -> None:
        """Give back every lease that is draining or idle and has no reservation left."""
        idle_since = monotonic_seconds() - self._idle_seconds
        for lease in list(self._by_id.values()):
            if lease.reservations == 0 and lease.growing == 0 and (lease.draining or lease.used_at < idle_since):
                await self._return(lease)

    async def _return(self, lease: HeldLease) -> None:
        self._withdraw(lease)
        await self._give_back(lease.tenant_id, lease.lease_id)
        self._by_id.pop(lease.lease_id, None)

    async def _grow_and_reserve(self, tenant_id: TenantId, amount_picos: int, deadline: float) -> HeldLease:
        while True:
            lease = self._current.get(tenant_id)
            if lease is None:
                lease = HeldLease(tenant_id, LeaseId(new_id("lease")))
            if lease.free >= amount_picos:
                return self._reserve(lease, amount_picos)
            # Shielded: a caller that leaves must not tear the account's part of a lease from this replica's.
            granted, may_change = await asyncio.shield(asyncio.ensure_future(self._grow(lease, amount_picos)))
            if granted:
                continue
            if not may_change or monotonic_seconds() > deadline:
                raise InsufficientQuota(
                    "You exceeded your current quota: the tenant's budget does not cover what this request may cost."
                )
            await asyncio.sleep(_RETURN_POLL_SECONDS)

    async def _grow(self, lease: HeldLease, amount_picos: int) -> tuple[bool, bool]:
        """Ask the account for more. Returns (granted, whether a lease on its way back may still make room)."""
        # A lease whose return overtook its growth would be closed when the growth arrives, and hold it for ever.
        lease.growing += 1
        amount = 0
        try:
            needed = amount_picos - lease.free
            async with self._database.for_tenant(lease.tenant_id) as session:
                rest = await repository.rest_picos(session, lease.tenant_id)
                if needed > rest:
                    others = await repository.other_open_leases(session, lease.tenant_id, self._holder, lease.lease_id)
                    return False, others > 0
                amount = min(rest, max(needed, int(rest * self._share_of_rest)))
                await repository.grant(session, lease.tenant_id, lease.lease_id, self._holder, amount)
        except BaseException:
            if amount:
                self._withdraw(lease)
            raise
        finally:
            lease.growing -= 1
        # A lease that began to drain while the database answered stays out: its new part goes back with the rest.
        lease.granted += amount
        lease.used_at = monotonic_seconds()
        self._by_id[lease.lease_id] = lease
        if not lease.draining:
            self._current[lease.tenant_id] = lease
        return True, False

    def _withdraw(self, lease: HeldLease) -> None:
        """Let no new reservation use a lease: it is on its way back, or its growth got no answer and may be real."""
        if self._current.get(lease.tenant_id) is lease:
            del self._current[lease.tenant_id]
        lease.draining = True
        self._by_id[lease.lease_id] = lease

    def _reserve(self, lease: HeldLease, amount_picos: int) -> HeldLease:
        lease.reserved += amount_picos
        lease.reservations += 1
        lease.used_at = monotonic_seconds()
        return lease

    async def recover(self) -> None:
        """Give back what an earlier run of this replica held; its spool already has every settlement.

        Leases recorded by another spool are left alone: that spool was lost, and what was spent with it.
        """
        async with self._database.across_tenants() as session:
            left_over = await repository.open_leases(session, self._holder.replica_id)
        for lease in left_over:
            if lease.spool_id == self._holder.spool_id:
                await self._give_back(TenantId(lease.tenant_id), LeaseId(lease.lease_id))
            else:
                _log.error("lease of a lost spool stays held", tenant_id=lease.tenant_id, lease_id=lease.lease_id)

    async def run(self) -> None:
        """Return unused leases for as long as the process lives."""
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            try:
                await self.return_unused()
            except DomainError as error:  # The spool refused; the lease stays held and is tried again.
                _log.warning("a lease could not be returned yet", error=error.code)
            except Exception:  # Whatever it was, leases that nobody returns would keep their budget for ever.
                _log.exception("leases could not be returned; it is tried again")
