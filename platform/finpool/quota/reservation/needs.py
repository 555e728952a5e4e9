"""What a request lacks of what this replica holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finpool.kernel.ids import TenantId
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest, RateNeed
from finpool.quota.limits import Applicable
from finpool.quota.reservation.leases import HeldLease, Leases
from finpool.quota.reservation.rate_allotments import RateAllotments
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import BudgetKey

REFUSAL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What does not cover a request of `amount_picos`. `may_change`: something on its way back may make room."""

    of: BudgetRest | RateAllotment
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
    shares_held: RateAllotments,
    tenant_id: TenantId,
    applicable: Applicable,
    tokens: int,
    now: float,
    *,
    ahead: bool,
    share_of_rest: float,
) -> tuple[list[RateAllotment], list[RateNeed]]:
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


def known_shortfall(
    refused: Mapping[tuple[TenantId, BudgetKey], tuple[float, Shortfall]],
    tenant_id: TenantId,
    budgets: Sequence[BudgetNeed],
    shares: Sequence[RateAllotment],
    rates: Sequence[RateNeed],
    amount_picos: int,
    now: float,
) -> Shortfall | None:
    """Return what cannot be had without asking: above the limit itself, or refused a moment ago."""
    for share, need in zip(shares, rates, strict=True):
        full = share.held(now) >= share.limit
        if need.needed > share.limit or (need.needed and full):
            return Shortfall(share, amount_picos, may_change=False, at=now)
        if need.needed > share.room and now - share.asked_at < REFUSAL_SECONDS:
            return Shortfall(share, amount_picos, may_change=False, at=now)
    for budget in budgets:
        until, known = refused.get((tenant_id, budget.key), (0.0, None))
        if known is None or now >= until or not isinstance(known.of, BudgetRest):
            continue
        if budget.needed_picos > known.of.rest_picos:
            return Shortfall(known.of, amount_picos, known.may_change, now)
    return None
