"""Accounts: a tenant's spent and held amounts, and the recorder's postings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.database.tenant_rows import rows_of, update_of
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import PICOS_PER_MICRO, to_micros_ceiling
from finpool.quota.account import postings, thresholds
from finpool.quota.limits import key_of, limits_of_row
from finpool.quota.models import Account, Budget, QuotaLimit
from finpool.quota.periods import budget_id, period_of
from finpool.quota.schemas import AccountView, BudgetKey, BudgetView, PaymentTerms, Period, operator_limit


async def account_view(session: AsyncSession, tenant_id: TenantId) -> AccountView:
    """Return a tenant's account; zeros before its first limits.

    Spent amounts are rounded up to whole micros. Posted + pending never exceeds their exact sum rounded up.
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
    """Read an account and its budgets in one statement: two statements could see a concurrent posting in one part only.

    Of past periods only budgets with open leases are read, because their number grows every day.
    """
    relevant = (col(Budget.pending_picos) > 0) | col(Budget.budget_id).in_([budget_id(key, at) for key in keys])
    of_account = (col(Budget.tenant_id) == col(Account.tenant_id)) & relevant
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
    """Lock the accounts of a transaction's postings and lease closings, before any other of its locks.

    A growing lease locks its account first and then itself. Another order of locks, or of accounts, would deadlock
    until Postgres aborts one transaction.
    """
    await postings.lock_accounts(session, tenant_ids)


async def number_usage(session: AsyncSession, counts: Mapping[TenantId, int]) -> dict[TenantId, int]:
    """Take the next usage numbers of locked accounts and return the first of each tenant."""
    return await postings.number_usage(session, counts)


async def last_usage_number(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return the number of the tenant's last usage record, 0 without an account.

    Records are numbered under the account's lock and committed with the number. So a transaction that has read the
    number can read every record up to it, without a lock.
    """
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.usage_seq))
    return (await session.execute(query)).scalar_one_or_none() or 0


async def post(
    session: AsyncSession, costs_picos: Mapping[tuple[TenantId, tuple[LeaseId, ...]], int], reference: str
) -> None:
    """Post the costs of settled requests to their leases: once to the tenant, and once to each budget.

    An unknown lease is a defect and raises `LookupError`. An amount above the rest of a lease is still posted in full.
    The caller holds the accounts' locks.
    """
    await thresholds.raise_passed(session, await postings.post(session, costs_picos, reference))


async def close_leases(session: AsyncSession, leases: Sequence[tuple[TenantId, LeaseId]]) -> None:
    """Close leases and return their rests to the budgets; closed ones stay unchanged. The caller holds the locks."""
    await postings.close_leases(session, leases)


async def adjust(
    session: AsyncSession, tenant_id: TenantId, lease_ids: Sequence[LeaseId], amount_picos: int, reference: str
) -> None:
    """Post a signed correction to the budgets of the leases. The caller holds the account's lock."""
    await postings.adjust(session, tenant_id, lease_ids, amount_picos, reference)


async def payment_terms_of(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Return the tenant's current payment terms; postpaid without an account."""
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.payment))
    return PaymentTerms((await session.execute(query)).scalar_one_or_none() or PaymentTerms.POSTPAID)


async def lock_payment_terms(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Lock the tenant's account, open it first if it is missing, and return the payment terms."""
    await postings.open_account(session, tenant_id)
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.payment)).with_for_update()
    return PaymentTerms((await session.execute(query)).scalar_one())


async def set_payment_terms(session: AsyncSession, tenant_id: TenantId, terms: PaymentTerms) -> None:
    """Change the payment terms from the tenant's next request on; the caller holds the account's lock."""
    change = update_of(tenant_id, Account)
    await session.execute(change.values(payment=terms.value, updated_at=now()))


async def fund(session: AsyncSession, tenant_id: TenantId, amount_picos: int) -> None:
    """Raise or lower a prepaid tenant's paid-in amount; the caller holds the account's lock."""
    funded = update_of(tenant_id, Account).values(
        funded_picos=Account.funded_picos + amount_picos, updated_at=func.now()
    )
    await session.execute(funded.execution_options(synchronize_session=False))
