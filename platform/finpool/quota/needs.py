"""What a request lacks of what this replica holds."""

from dataclasses import dataclass

from finpool.kernel.ids import TenantId
from finpool.quota.directory import Applicable
from finpool.quota.grants import BudgetNeed, BudgetRest, RateNeed
from finpool.quota.leases import HeldLease, Leases
from finpool.quota.rates import RateShare
from finpool.quota.shares import RateShares


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What does not cover a request of `amount_picos`. `may_change`: something on its way back may make room."""

    of: BudgetRest | RateShare
    amount_picos: int
    may_change: bool
    at: float


def budget_needs(
    leases_held: Leases, tenant_id: TenantId, applicable: Applicable, amount_picos: int, now: float, *, ahead: bool
) -> tuple[list[HeldLease], list[BudgetNeed]]:
    """Return the leases that have to grow for a request, or ahead of the next ones, and by how much."""
    leases, needs = [], []
    for key in applicable.budgets:
        lease = leases_held.current(tenant_id, key, now)
        need = leases_held.need(lease, amount_picos, now)
        if ahead and leases_held.runs_low(lease, amount_picos, now):
            leases.append(lease)
            needs.append(BudgetNeed(key, lease.lease_id, 0, need.wanted_picos))
        elif not ahead and need.needed_picos > 0:
            leases.append(lease)
            needs.append(need)
    return leases, needs


def rate_needs(
    shares_held: RateShares,
    tenant_id: TenantId,
    applicable: Applicable,
    tokens: int,
    now: float,
    *,
    ahead: bool,
    share_of_rest: float,
) -> tuple[list[RateShare], list[RateNeed]]:
    """Return the rate shares that have to grow for a request, or ahead of the next ones, and to how much."""
    shares, needs = [], []
    for key, limit in applicable.rates:
        share = shares_held.share(tenant_id, key, limit)
        counted = share.counted(tokens)
        if not share.fits(2 * counted if ahead else counted, now):
            used = share.used(now)
            wanted = max(2 * (used + counted), int(limit * share_of_rest))
            shares.append(share)
            # What was let through stays claimed whatever becomes of the limit: others could let as much through again.
            needs.append(RateNeed(key, share.amount, used if ahead else used + counted, wanted))
    return shares, needs
