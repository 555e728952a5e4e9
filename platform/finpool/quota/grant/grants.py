"""The grant of leases and rate shares: a replica gets parts of budgets and rates in one transaction.

The lock of the account's row makes all replicas' grants serial, so their sum never exceeds a limit. Periods follow the
database's clock, so a replica with a wrong clock still spends from the same day as the others.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.database.tenant_rows import rows_of, update_of
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import from_micros
from finpool.quota.grant.rate_share_table import Holder, RateClaim, write_claims
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest, Grants, RateNeed, RateRest
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import TransferKind, available, leased
from finpool.quota.limits import TenantLimits, key_of, limits_of_row
from finpool.quota.models import Account, Budget, Lease, QuotaLimit, RateShare
from finpool.quota.periods import budget_id, period_of
from finpool.quota.schemas import BudgetKey, LimitKey, PaymentTerms, Period, RateKey, operator_limit

DATABASE_TIME = text("SELECT clock_timestamp()")
"""Reads the clock that decides the current day and month."""


async def ask(
    session: AsyncSession,
    tenant_id: TenantId,
    holder: Holder,
    budgets: Sequence[BudgetNeed],
    rates: Sequence[RateNeed],
    share_of_rest: float,
) -> Grants:
    """Grant all needs, or nothing if one of them does not fit; the account stays locked until the transaction ends."""
    account = (await session.execute(rows_of(tenant_id, Account).with_for_update())).scalar_one()
    at: datetime = (await session.execute(DATABASE_TIME)).scalar_one()
    if outlived := await _outlived(session, tenant_id, budgets, at):
        return Grants((), (), outlived=outlived)
    budget_picos, rate_limits = await _in_force(
        session, account, {need.key.limit for need in budgets} | {need.key.limit for need in rates}
    )
    if any(need.key not in budget_picos for need in budgets) or any(need.key not in rate_limits for need in rates):
        return Grants((), (), lifted=True)
    offers = [await budget_rest(session, account, need, at, budget_picos, share_of_rest) for need in budgets]
    rooms = [await rate_room(session, tenant_id, holder, need, rate_limits, share_of_rest) for need in rates]
    grants = Grants(tuple(offers), tuple(rooms))
    if grants.short_budget is not None:
        return Grants(grants.budgets, grants.rates, returning=await _returning(session, tenant_id, holder, budgets, at))
    if grants.short_rate is not None:
        return grants
    for offer in offers:
        await _grant(session, tenant_id, holder, offer.need, budget_id(offer.need.key, at), offer.granted_picos)
    await write_claims(session, holder, [RateClaim(tenant_id, room.need.key, room.amount) for room in rooms])
    return grants


async def _in_force(
    session: AsyncSession, account: Account, limits: Collection[LimitKey]
) -> tuple[dict[BudgetKey, int], dict[RateKey, int]]:
    """Return the budgets (picos) and rates in force for these limits, read once for all needs.

    A missing limit was lifted; the change feed will soon reach its replica.
    """
    columns = tuple_(col(QuotaLimit.set_by), col(QuotaLimit.scope), col(QuotaLimit.scope_id))
    wanted = [tuple(key.columns().values()) for key in limits]
    tenant_id = TenantId(account.tenant_id)
    query = rows_of(tenant_id, QuotaLimit).where(columns.in_(wanted))
    rows = (await session.execute(query)).scalars()
    prepaid = account.payment == PaymentTerms.PREPAID
    found = TenantLimits(tenant_id, {key_of(row): limits_of_row(row) for row in rows}, prepaid=prepaid)
    budget_picos = {key: int(from_micros(micros)) for key, micros in found.budget_limits().items()}
    if prepaid:
        budget_picos[BudgetKey(operator_limit(tenant_id), Period.PREPAID)] = account.funded_picos
    return budget_picos, found.rate_limits()


async def _outlived(
    session: AsyncSession, tenant_id: TenantId, needs: Sequence[BudgetNeed], at: datetime
) -> frozenset[LeaseId]:
    """Return the leases of a past period or closed ones: growing them would mix two budgets."""
    of_needs = rows_of(tenant_id, Lease).where(col(Lease.lease_id).in_([need.lease_id for need in needs]))
    query = of_needs.with_only_columns(col(Lease.lease_id), col(Lease.budget_id), col(Lease.closed_at))
    budgets = {need.lease_id: budget_id(need.key, at) for need in needs}
    rows = (await session.execute(query)).all()
    return frozenset(
        LeaseId(row.lease_id) for row in rows if row.closed_at is not None or row.budget_id != budgets[row.lease_id]
    )


async def budget_rest(
    session: AsyncSession,
    account: Account,
    need: BudgetNeed,
    at: datetime,
    limits_picos: Mapping[BudgetKey, int],
    share_of_rest: float,
) -> BudgetRest:
    """Return the rest of a budget in its current period, and the amount that it grants to a need."""
    key = need.key
    start, end = period_of(key.period, at)
    names = {"tenant_id": account.tenant_id, "budget_id": budget_id(key, at)}
    values = {**names, **key.limit.columns(), "period": key.period.value}
    new = insert(Budget).values(**values, period_start=start, posted_picos=0, pending_picos=0, threshold_percent=0)
    await session.execute(new.on_conflict_do_nothing())
    known = rows_of(TenantId(account.tenant_id), Budget).where(col(Budget.budget_id) == names["budget_id"])
    budget = (await session.execute(known.execution_options(populate_existing=True))).scalar_one()
    limit_picos = limits_picos[key]
    rest = max(0, limit_picos - budget.posted_picos - budget.pending_picos)
    granted = min(rest, max(need.needed_picos, min(need.wanted_picos, int(rest * share_of_rest))))
    seconds = None if end is None else (end - at).total_seconds()
    return BudgetRest(need, limit_picos, rest, granted, seconds)


async def rate_room(
    session: AsyncSession,
    tenant_id: TenantId,
    holder: Holder,
    need: RateNeed,
    limits: Mapping[RateKey, int],
    share_of_rest: float,
) -> RateRest:
    """Return the part of a rate that no other run holds, and the amount that it grants to a need."""
    of_others = rows_of(tenant_id, RateShare).where(
        col(RateShare.limit_id) == need.key.limit.limit_id,
        col(RateShare.rate) == need.key.rate.value,
        col(RateShare.run_id) != holder.run_id,
        col(RateShare.expires_at) > func.clock_timestamp(),
    )
    others = of_others.with_only_columns(func.coalesce(func.sum(col(RateShare.amount)), 0))
    room = max(0, limits[need.key] - int((await session.execute(others)).scalar_one()))
    # Beyond the need only a fraction of the rest is granted, so that the first replica does not take all of it. The
    # grant is never below the held amount, because requests use it while this transaction runs.
    spare = int(max(0, room - need.needed) * share_of_rest)
    return RateRest(need, room, min(room, max(need.held, need.needed, min(need.wanted, need.needed + spare))))


async def _returning(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, needs: Sequence[BudgetNeed], at: datetime
) -> bool:
    """Tell whether this replica has other open leases of these budgets, which are being returned."""
    others = rows_of(tenant_id, Lease).where(
        col(Lease.replica_id) == holder.replica_id,
        col(Lease.spool_id) == holder.spool_id,
        col(Lease.lease_id).not_in([need.lease_id for need in needs]),
        col(Lease.budget_id).in_([budget_id(need.key, at) for need in needs]),
        col(Lease.closed_at).is_(None),
    )
    return int((await session.execute(others.with_only_columns(func.count()))).scalar_one()) > 0


async def _grant(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, need: BudgetNeed, of_budget: str, amount_picos: int
) -> None:
    """Move `amount_picos` from the budget to the lease; open a new lease first.

    Spending beyond a lease was already taken from its budget, so a growth over that amount moves less.
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
    mine = update_of(tenant_id, Budget).where(col(Budget.budget_id) == of_budget)
    await session.execute(mine.values(pending_picos=Budget.pending_picos + moved))
    amounts = {available(of_budget): -moved, leased(need.lease_id): moved}
    await ledger.transfer(session, tenant_id, TransferKind.LEASE_GRANTED, need.lease_id, amounts)
