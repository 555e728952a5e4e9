"""The leases of this replica: reservations come from them without a database read.

A lease is a durable transfer from a budget to this replica, so the sum over replicas never passes the limit. It is
returned through the spool, after every settlement that it paid, so the budget regains exactly the unspent rest.
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.ids import LeaseId, TenantId, new_id
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest
from finpool.quota.limits import Demand
from finpool.quota.schemas import BudgetKey

ReturnLease = Callable[[TenantId, LeaseId], Awaitable[None]]
"""Writes the return of a lease into the spool; the recorder closes the lease when it reaches the record."""

REQUESTS_AHEAD = 16
"""A lease covers this many requests like the one it grows for, within the granted fraction of the rest."""


_SPAN_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class HeldLease:
    """One lease as this replica sees it; amounts in picos. `ends_at` is the monotonic end of its budget's period.

    `draining`: no new reservation may use it. `growing` is the number of running requests to grow it.
    """

    tenant_id: TenantId
    lease_id: LeaseId
    key: BudgetKey
    granted: int = 0
    reserved: int = 0
    spent: int = 0
    reservations: int = 0
    used_at: float = field(default_factory=monotonic_seconds)
    ends_at: float = math.inf
    draining: bool = False
    growing: int = 0

    @property
    def free(self) -> int:
        """The amount that a new reservation may take."""
        return self.granted - self.reserved - self.spent

    def reserve(self, amount_picos: int, now: float) -> None:
        """Hold an amount for one request."""
        self.reserved += amount_picos
        self.reservations += 1
        self.used_at = now


class SpendMeter:
    """A meter of the spending in the last 10 to 20 seconds, in picos."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._current = 0
        self._previous = 0

    def add(self, amount_picos: int, now: float) -> None:
        """Add the cost of a request."""
        self._turn(now)
        self._current += amount_picos

    def recent_picos(self, now: float) -> int:
        """Return the recent spending in picos."""
        self._turn(now)
        return self._current + self._previous

    def _turn(self, now: float) -> None:
        passed = now - self._since
        if passed >= _SPAN_SECONDS:
            self._previous = self._current if passed < 2 * _SPAN_SECONDS else 0
            self._current = 0
            self._since = now


class Leases:
    """Every lease of this replica. No method waits, so each decision is atomic in the event loop."""

    def __init__(self) -> None:
        self._current: dict[tuple[TenantId, BudgetKey], HeldLease] = {}
        self._by_id: dict[LeaseId, HeldLease] = {}
        self._spend: dict[tuple[TenantId, BudgetKey], SpendMeter] = {}

    def current(self, tenant_id: TenantId, key: BudgetKey, now: float) -> HeldLease:
        """Return the lease for new reservations; a new empty one without a lease in this period."""
        lease = self._current.get((tenant_id, key))
        if lease is not None and now >= lease.ends_at:
            self.withdraw(lease)
            lease = None
        return lease if lease is not None else HeldLease(tenant_id, LeaseId(new_id("lease")), key)

    def needs(self, demand: Demand, now: float, *, ahead: bool) -> list[tuple[HeldLease, BudgetNeed]]:
        """Return the leases that must grow for a request, or should grow ahead, each with its amounts.

        A lease should grow by the spending of the last seconds, or by `REQUESTS_AHEAD` such requests if that is more.
        """
        found = []
        for key in demand.applicable.budgets:
            lease = self.current(demand.tenant_id, key, now)
            needed = 0 if ahead else max(0, demand.amount_picos - lease.free)
            if needed or (ahead and self.runs_low(lease, demand.amount_picos, now)):
                wanted = max(REQUESTS_AHEAD * demand.amount_picos, self._recent_picos(lease, now))
                found.append((lease, BudgetNeed(key, lease.lease_id, needed, wanted)))
        return found

    def runs_low(self, lease: HeldLease, amount_picos: int, now: float) -> bool:
        """Tell whether to renew a lease ahead: two more requests or a quarter of the recent spending would empty it."""
        return lease.free < max(2 * amount_picos, self._recent_picos(lease, now) // 4)

    def grow(self, lease: HeldLease, rest: BudgetRest, now: float) -> None:
        """Add a grant. A lease that began to drain in the meantime stays withdrawn, so the grant is returned too."""
        if rest.granted_picos == 0 and lease.lease_id not in self._by_id:
            return
        lease.granted += rest.granted_picos
        lease.used_at = now
        if rest.period_seconds is not None:
            lease.ends_at = now + rest.period_seconds
        self._by_id[lease.lease_id] = lease
        if not lease.draining:
            self._current[(lease.tenant_id, lease.key)] = lease

    def withdraw(self, lease: HeldLease) -> None:
        """Stop new reservations on a lease that is being returned, or whose grant got no answer and may be real."""
        if self._current.get((lease.tenant_id, lease.key)) is lease:
            del self._current[(lease.tenant_id, lease.key)]
        lease.draining = True
        self._by_id[lease.lease_id] = lease

    def settle(self, lease_ids: Iterable[LeaseId], amount_picos: int, cost_picos: int) -> None:
        """End a reservation of `amount_picos` that cost `cost_picos`; the difference is free again at once."""
        now = monotonic_seconds()
        for lease_id in lease_ids:
            lease = self._by_id[lease_id]
            lease.reserved -= amount_picos
            lease.spent += cost_picos
            lease.reservations -= 1
            lease.used_at = now
            meter = self._spend.get((lease.tenant_id, lease.key))
            if meter is None:
                meter = self._spend[(lease.tenant_id, lease.key)] = SpendMeter(now)
            meter.add(cost_picos, now)

    def drain(self, tenant_id: TenantId | None, keys: Iterable[BudgetKey] | None = None) -> None:
        """Stop new reservations on the leases of changed budgets; for None on all leases, because the replica stops."""
        wanted = None if keys is None else set(keys)
        for (of_tenant, key), lease in list(self._current.items()):
            if tenant_id in (None, of_tenant) and (wanted is None or key in wanted):
                self.withdraw(lease)

    def unused(self, idle_since: float, now: float) -> list[HeldLease]:
        """Return every lease without a reservation that is draining, idle, or of a past period."""
        return [
            lease
            for lease in self._by_id.values()
            if lease.reservations == 0
            and lease.growing == 0
            and (lease.draining or lease.used_at < idle_since or now >= lease.ends_at)
        ]

    def forget(self, lease: HeldLease) -> None:
        """Drop a lease whose return is in the spool."""
        self._by_id.pop(lease.lease_id, None)

    def _recent_picos(self, lease: HeldLease, now: float) -> int:
        meter = self._spend.get((lease.tenant_id, lease.key))
        return meter.recent_picos(now) if meter is not None else 0
