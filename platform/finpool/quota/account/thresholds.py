"""Soft thresholds: an audit event when a budget's spending passes a percentage, once per period."""

from collections.abc import Collection

from sqlalchemy import and_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import service as audit
from finpool.kernel.database.tenant_rows import update_of
from finpool.kernel.ids import TenantId
from finpool.kernel.money import PICOS_PER_MICRO, to_micros_ceiling
from finpool.quota.models import Budget, QuotaLimit
from finpool.quota.schemas import LimitKey


async def raise_passed(session: AsyncSession, posted: Collection[tuple[TenantId, str]]) -> None:
    """Append an event for each threshold that these budgets have passed; the caller holds the accounts' locks."""
    same = [col(getattr(QuotaLimit, name)) == col(getattr(Budget, name)) for name in ("tenant_id", *LimitKey._fields)]
    watched = (
        select(QuotaLimit, Budget)
        .join(Budget, and_(*same))
        .where(
            tuple_(col(Budget.tenant_id), col(Budget.budget_id)).in_(posted),
            col(QuotaLimit.soft_thresholds_percent) != [],
        )
    )
    for limit, budget in (await session.execute(watched.execution_options(populate_existing=True))).all():
        await _raise(session, limit, budget)


async def _raise(session: AsyncSession, limit: QuotaLimit, budget: Budget) -> None:
    micros = getattr(limit, f"budget_{budget.period}_micros", None)
    if micros is None:
        return
    passed = [
        percent
        for percent in limit.soft_thresholds_percent
        if percent > budget.threshold_percent and budget.posted_picos * 100 >= percent * micros * PICOS_PER_MICRO
    ]
    if not passed:
        return
    mine = update_of(TenantId(budget.tenant_id), Budget).where(col(Budget.budget_id) == budget.budget_id)
    await session.execute(mine.values(threshold_percent=max(passed)))
    for percent in passed:
        body = {
            "budget_id": budget.budget_id,
            "threshold_percent": percent,
            "posted_micros": to_micros_ceiling(budget.posted_picos),
            "limit_micros": micros,
        }
        await audit.append(
            session, kind="budget.threshold_passed", tenant_id=TenantId(budget.tenant_id), actor=None, body=body
        )
