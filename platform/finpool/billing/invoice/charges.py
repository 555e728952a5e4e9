"""The charges of one invoice: usage, corrections, minimum commitments and membership fees."""

from collections import defaultdict
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.contract import service as contracts
from finpool.billing.invoice import repository, usage
from finpool.billing.invoice.lines import (
    BillingTerms,
    Charge,
    Charged,
    commitment_charge,
    membership_charge,
    usage_charges,
)
from finpool.billing.invoice.schemas import LineKind
from finpool.billing.invoice.usage import BillingCutoff
from finpool.billing.models import Invoice
from finpool.billing.months import months_between
from finpool.kernel.money import from_micros

_COMMITTED = (LineKind.USAGE, LineKind.LEASE_CHARGE)
"""The charges that count towards a minimum commitment. A credit does not, or the commitment would cancel it."""


async def charges_of(
    session: AsyncSession,
    cutoff: BillingCutoff,
    start: datetime,
    previous: Invoice | None,
    terms: BillingTerms,
    *,
    membership_fees: bool = True,
) -> list[Charge]:
    """Return the charges of an invoice over [start, cutoff.end), in the order of its lines.

    Raises `UsageDoesNotAddUp` if recorded costs and prices disagree. With `membership_fees` the session must see the
    whole sector, because a fee depends on the other members.
    """
    sums = await usage.usage_sums(session, cutoff, terms.currency)
    prices = await usage.unit_prices(session, {each.price_version for each in sums})
    used = usage_charges(sums, prices) + await usage.other_adjustments(session, cutoff, terms.currency)
    charged = await repository.charged(session, cutoff.tenant_id)
    months = months_between(start, cutoff.end)
    commitments = await _commitments(session, cutoff, months, used, charged)
    memberships = await _memberships(session, cutoff, months, previous, charged) if membership_fees else []
    return used + commitments + memberships


async def _commitments(
    session: AsyncSession,
    cutoff: BillingCutoff,
    months: list[datetime],
    used: list[Charge],
    charged: dict[datetime, Charged],
) -> list[Charge]:
    billed_now: defaultdict[datetime, int] = defaultdict(int)
    for each in used:
        if each.kind in _COMMITTED:
            billed_now[each.month] += each.amount_picos
    found = []
    for month in sorted({*months, *billed_now}):
        commitment = from_micros(await contracts.commitment_micros(session, cutoff.tenant_id, month.date()))
        before = charged.get(month, Charged())
        late = month not in months
        found.append(commitment_charge(month, commitment, before, billed_now[month], correction=late))
    return [each for each in found if each is not None]


async def _memberships(
    session: AsyncSession,
    cutoff: BillingCutoff,
    months: list[datetime],
    previous: Invoice | None,
    charged: dict[datetime, Charged],
) -> list[Charge]:
    """Return the fees of the period's months, and changes of earlier fees since the last invoice was drafted."""
    again: list[datetime] = []
    if previous is not None:
        set_since = await repository.pool_costs_set_since(session, previous.created_at, months[0].date())
        again = [datetime(day.year, day.month, 1, tzinfo=UTC) for day in set_since]
    found = []
    for month in again + months:
        fee = from_micros(await contracts.membership_fee_micros(session, cutoff.tenant_id, month.date()))
        before = charged.get(month, Charged())
        found.append(membership_charge(month, fee, before, correction=month in again))
    return [each for each in found if each is not None]
