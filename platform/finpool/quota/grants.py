"""What a replica gets from a tenant's account in one transaction: parts of budgets (leases) and of rates (shares).

Everything happens under the lock of the account's row, so the parts of all replicas never pass a limit. Periods are
those of the database's clock: a replica whose own clock is wrong spends from the same day as all others.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import from_micros
from finpool.quota import ledger_service as ledger
from finpool.quota.directory import key_of, limits_of_row
from finpool.quota.grant_schemas import BudgetNeed, BudgetRest, Grants, RateNeed, RateRest
from finpool.quota.ledger_schemas import TransferKind, available, leased
from finpool.quota.models import Account, Budget, Lease, QuotaLimit, RateShare
from finpool.quota.periods import budget_id, period_of
from finpool.quota.schemas import BudgetKey, Period, Rate, RateKey
from finpool.quota.share_table import Holder, write_share

_DATABASE_TIME = text("SELECT clock_timestamp()")


async def ask(
    session: AsyncSession,
    tenant_id: TenantId,
    holder: Holder,
    budgets: Sequence[BudgetNeed],
    rates: Sequence[RateNeed],
    share_of_rest: float,
) -> Grants:
    """Grant all that is needed or, if one need cannot be met, nothing; the account stays locked until the end."""
    account = (await session.execute(select(Account).filter_by(tenant_id=tenant_id).with_for_update())).scalar_one()
    at: datetime = (await session.execute(_DATABASE_TIME)).scalar_one()
    if outlived := await _outlived(session, tenant_id, budgets, at):
        return Grants((), (), outlived=outlived)
    if await _lifted(session, account, budgets, rates):
        return Grants((), (), lifted=True)
    offers = [await _budget_rest(session, account, need, at, share_of_rest) for need in budgets]
    rooms = [await _rate_room(session, tenant_id, holder, need, share_of_rest) for need in rates]
    grants = Grants(tuple(offers), tuple(rooms))
    if grants.short_budget is not None:
        return Grants(grants.budgets, grants.rates, returning=await _returning(session, tenant_id, holder, budgets, at))
    if grants.short_rate is not None:
        return grants
    for offer in offers:
        await _grant(session, tenant_id, holder, offer.need, budget_id(offer.need.key, at), offer.granted_picos)
    for room in rooms:
        await write_share(session, tenant_id, holder, room.need.key, room.amount)
    return grants


async def _lifted(
    session: AsyncSession, account: Account, budgets: Sequence[BudgetNeed], rates: Sequence[RateNeed]
) -> bool:
    """Tell whether a limit is asked for that is not in force any more; its replica will hear of that in a moment."""
    rows = (await session.execute(select(QuotaLimit).filter_by(tenant_id=account.tenant_id))).scalars()
    set_limits = {key_of(row): limits_of_row(row) for row in rows}
    found: set[BudgetKey | RateKey] = {
        BudgetKey(key, each) for key, row in set_limits.items() for each, _ in row.budgets()
    }
    found |= {RateKey(key, each) for key, row in set_limits.items() for each, _ in row.rates()}
    prepaid = account.payment == "prepaid"
    asked = [need.key for need in budgets if not (need.key.period is Period.PREPAID and prepaid)]
    return any(key not in found for key in (*asked, *(need.key for need in rates)))


async def _outlived(
    session: AsyncSession, tenant_id: TenantId, needs: Sequence[BudgetNeed], at: datetime
) -> frozenset[LeaseId]:
    """Return which leases would take from today's budget what they give back to yesterday's."""
    query = select(col(Lease.lease_id), col(Lease.budget_id), col(Lease.closed_at)).where(
        col(Lease.tenant_id) == tenant_id, col(Lease.lease_id).in_([need.lease_id for need in needs])
    )
    budgets = {need.lease_id: budget_id(need.key, at) for need in needs}
    rows = (await session.execute(query)).all()
    return frozenset(
        LeaseId(row.lease_id) for row in rows if row.closed_at is not None or row.budget_id != budgets[row.lease_id]
    )


async def _budget_rest(
    session: AsyncSession, account: Account, need: BudgetNeed, at: datetime, share_of_rest: float
) -> BudgetRest:
    key = need.key
    names = {"set_by": key.limit.set_by.value, "scope": key.limit.scope.value, "scope_id": key.limit.scope_id}
    start, end = period_of(key.period, at)
    values = {"tenant_id": account.tenant_id, "budget_id": budget_id(key, at), **names, "period": key.period.value}
    new = insert(Budget).values(**values, period_start=start, posted_picos=0, pending_picos=0, threshold_percent=0)
    await session.execute(new.on_conflict_do_nothing())
    known = select(Budget).filter_by(tenant_id=account.tenant_id, budget_id=values["budget_id"])
    budget = (await session.execute(known.execution_options(populate_existing=True))).scalar_one()
    if key.period is Period.PREPAID:
        limit_picos = account.funded_picos
    else:
        set_limits = select(QuotaLimit).filter_by(tenant_id=account.tenant_id, **names)
        row = (await session.execute(set_limits)).scalar_one_or_none()
        limit_picos = from_micros(getattr(row, f"budget_{key.period}_micros") or 0)
    rest = max(0, limit_picos - budget.posted_picos - budget.pending_picos)
    granted = min(rest, max(need.needed_picos, min(need.wanted_picos, int(rest * share_of_rest))))
    seconds = None if end is None else (end - at).total_seconds()
    return BudgetRest(need, limit_picos, rest, granted, seconds)


async def _rate_room(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, need: RateNeed, share_of_rest: float
) -> RateRest:
    key = need.key.limit
    names = {"set_by": key.set_by.value, "scope": key.scope.value, "scope_id": key.scope_id}
    row = (await session.execute(select(QuotaLimit).filter_by(tenant_id=tenant_id, **names))).scalar_one_or_none()
    limit = dict(_rates(row)).get(need.key.rate, 0) if row is not None else 0
    others = select(func.coalesce(func.sum(col(RateShare.amount)), 0)).where(
        col(RateShare.tenant_id) == tenant_id,
        col(RateShare.limit_id) == key.limit_id,
        col(RateShare.rate) == need.key.rate.value,
        col(RateShare.run_id) != holder.run_id,
        col(RateShare.expires_at) > func.clock_timestamp(),
    )
    room = max(0, limit - int((await session.execute(others)).scalar_one()))
    # As with budgets, what is not needed yet is a share of what is left: whoever comes first must not take it all.
    # It never shrinks here: requests are let through up to what is held while this is decided.
    spare = int(max(0, room - need.needed) * share_of_rest)
    return RateRest(need, room, min(room, max(need.held, need.needed, min(need.wanted, need.needed + spare))))


def _rates(row: QuotaLimit) -> list[tuple[Rate, int]]:
    found = (
        (Rate.REQUESTS, row.requests_per_minute),
        (Rate.TOKENS, row.tokens_per_minute),
        (Rate.CONCURRENCY, row.concurrency),
    )
    return [(rate, limit) for rate, limit in found if limit is not None]


async def _returning(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, needs: Sequence[BudgetNeed], at: datetime
) -> bool:
    """Tell whether this replica has leases besides those that have to grow: they are on their way back."""
    query = select(func.count()).where(
        col(Lease.tenant_id) == tenant_id,
        col(Lease.replica_id) == holder.replica_id,
        col(Lease.spool_id) == holder.spool_id,
        col(Lease.lease_id).not_in([need.lease_id for need in needs]),
        col(Lease.budget_id).in_([budget_id(need.key, at) for need in needs]),
        col(Lease.closed_at).is_(None),
    )
    return int((await session.execute(query)).scalar_one()) > 0


async def _grant(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, need: BudgetNeed, of_budget: str, amount_picos: int
) -> None:
    """Move `amount_picos` from the budget to the lease, opening it if it is new.

    What was spent beyond a lease went out of its budget directly, so growing over it again moves that much less.
    """
    if amount_picos == 0:
        return
    lease = insert(Lease).values(
        tenant_id=tenant_id,
        lease_id=need.lease_id,
        budget_id=of_budget,
        replica_id=holder.replica_id,
        spool_id=holder.spool_id,
        granted_picos=amount_picos,
        spent_picos=0,
        opened_at=now(),
    )
    grown = lease.on_conflict_do_update(
        index_elements=["tenant_id", "lease_id"],
        set_={"granted_picos": Lease.granted_picos + lease.excluded.granted_picos},
    ).returning(col(Lease.granted_picos), col(Lease.spent_picos))
    granted, spent = (await session.execute(grown)).one()
    moved = max(0, granted - spent) - max(0, granted - amount_picos - spent)
    mine = update(Budget).where(col(Budget.tenant_id) == tenant_id, col(Budget.budget_id) == of_budget)
    await session.execute(mine.values(pending_picos=Budget.pending_picos + moved))
    amounts = {available(of_budget): -moved, leased(need.lease_id): moved}
    await ledger.transfer(session, tenant_id, TransferKind.LEASE_GRANTED, need.lease_id, amounts)
