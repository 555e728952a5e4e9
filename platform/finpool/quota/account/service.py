"""Accounts: what a tenant has spent and holds, and how the recorder posts to them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import PICOS_PER_MICRO, to_micros_ceiling
from finpool.kernel.tenant_rows import rows_of
from finpool.quota.account import postings, thresholds
from finpool.quota.limits import key_of, limits_of_row
from finpool.quota.models import Account, Budget, QuotaLimit
from finpool.quota.periods import budget_id, period_of
from finpool.quota.schemas import AccountView, BudgetKey, BudgetView, PaymentTerms, Period, operator_limit


async def account_view(session: AsyncSession, tenant_id: TenantId) -> AccountView:
    """Return a tenant's account; zeros while no limits were set.

    What is spent is rounded up to whole micros, and posted + pending never shows more than their exact sum rounded up.
    """
    order = (col(QuotaLimit.set_by), col(QuotaLimit.scope), col(QuotaLimit.scope_id))
    limits = rows_of(tenant_id, QuotaLimit).order_by(*order)
    limited = [
        (BudgetKey(key_of(row), period), micros)
        for row in (await session.execute(limits)).scalars()
        for period, micros in limits_of_row(row).budgets()
    ]
    paid_in = BudgetKey(operator_limit(tenant_id), Period.PREPAID)
    at = now()
    account, budgets = await _account_and_budgets(session, tenant_id, [key for key, _ in limited] + [paid_in], at)
    prepaid = account is not None and account.payment == PaymentTerms.PREPAID
    if account is not None and prepaid:
        limited.append((paid_in, account.funded_picos // PICOS_PER_MICRO))
    held = max((budget.pending_picos for budget in budgets.values()), default=0)
    posted_picos = account.posted_picos if account is not None else 0
    posted = to_micros_ceiling(posted_picos)
    return AccountView(
        tenant_id=tenant_id,
        payment=account.payment if account is not None else PaymentTerms.POSTPAID,
        funded_micros=account.funded_picos // PICOS_PER_MICRO if account is not None and prepaid else None,
        posted_micros=posted,
        pending_micros=to_micros_ceiling(posted_picos + held) - posted,
        budgets=[_budget_view(key, micros, budgets, at) for key, micros in limited],
    )


async def _account_and_budgets(
    session: AsyncSession, tenant_id: TenantId, keys: Sequence[BudgetKey], at: datetime
) -> tuple[Account | None, dict[str, Budget]]:
    """Read an account and its budgets in one statement: read apart, usage posted meanwhile would be in one only.

    Of periods that are over only what leases still hold is told, and there are more of them every day.
    """
    told = (col(Budget.pending_picos) > 0) | col(Budget.budget_id).in_([budget_id(key, at) for key in keys])
    of_account = (col(Budget.tenant_id) == col(Account.tenant_id)) & told
    query = rows_of(tenant_id, Account).outerjoin(Budget, of_account).add_columns(Budget)
    account, budgets = None, dict[str, Budget]()
    for row in (await session.execute(query)).all():
        account, budget = row.Account, row.Budget
        if budget is not None:
            budgets[budget.budget_id] = budget
    return account, budgets


def _budget_view(key: BudgetKey, limit_micros: int, budgets: Mapping[str, Budget], at: datetime) -> BudgetView:
    budget = budgets.get(budget_id(key, at))
    posted_picos, pending_picos = (budget.posted_picos, budget.pending_picos) if budget is not None else (0, 0)
    posted = to_micros_ceiling(posted_picos)
    return BudgetView(
        set_by=key.limit.set_by,
        scope=key.limit.scope,
        scope_id=key.limit.scope_id,
        period=key.period,
        limit_micros=limit_micros,
        posted_micros=posted,
        pending_micros=to_micros_ceiling(posted_picos + pending_picos) - posted,
        resets_at=period_of(key.period, at)[1],
    )


async def lock_accounts(session: AsyncSession, tenant_ids: Collection[TenantId]) -> None:
    """Lock the accounts that a transaction will post to or close leases of; do so before anything else in it.

    A lease that grows locks its account first and then itself. Whoever took the two the other way round, or several
    accounts in another order, would stop it, and be stopped by it, until Postgres broke one of them off.
    """
    await postings.lock_accounts(session, tenant_ids)


async def number_usage(session: AsyncSession, counts: Mapping[TenantId, int]) -> dict[TenantId, int]:
    """Take the next numbers for usage of locked accounts; returns the first of each tenant."""
    return await postings.number_usage(session, counts)


async def last_usage_number(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return the number of the tenant's last usage record; 0 without an account.

    Records are numbered under the account's lock and committed with the number. So a transaction that read the number
    reads every record up to it afterwards, without a lock.
    """
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.usage_seq))
    return (await session.execute(query)).scalar_one_or_none() or 0


async def post(
    session: AsyncSession, costs_picos: Mapping[tuple[TenantId, tuple[LeaseId, ...]], int], reference: str
) -> None:
    """Post what settled requests cost, out of the leases that paid for them: once to the tenant, once to each budget.

    An unknown lease is a defect and raises `LookupError`. An amount above what a lease still holds is posted in full
    all the same: money is never cut to fit. The accounts must be locked.
    """
    await thresholds.raise_passed(session, await postings.post(session, costs_picos, reference))


async def close_leases(session: AsyncSession, leases: Sequence[tuple[TenantId, LeaseId]]) -> None:
    """Give what leases still hold back to their budgets; closing one again does nothing. Accounts must be locked."""
    await postings.close_leases(session, leases)


async def adjust(
    session: AsyncSession, tenant_id: TenantId, lease_ids: Sequence[LeaseId], amount_picos: int, reference: str
) -> None:
    """Post a signed amount to the budgets that the leases were of: a correction of what was posted. Lock it first."""
    await postings.adjust(session, tenant_id, lease_ids, amount_picos, reference)
