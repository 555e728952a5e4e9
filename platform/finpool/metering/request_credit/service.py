"""Credits on a single request: each is a usage adjustment; the record stays."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.actor import Actor
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId
from finpool.metering.adjustment.service import Adjustment, adjust_request
from finpool.metering.models import UsageAdjustment, UsageRecord

KIND = "dispute"


async def is_recorded(session: AsyncSession, tenant_id: TenantId, request_id: str) -> bool:
    """Tell whether the tenant has a usage record of the request."""
    query = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    return (await session.execute(query.with_only_columns(col(UsageRecord.request_id)))).first() is not None


async def left_picos(session: AsyncSession, tenant_id: TenantId, request_id: str) -> int | None:
    """Return the rest of a request's cost after all adjustments, or None without a usage record.

    The caller holds the lock of the tenant's account, or concurrent credits could exceed the rest.
    """
    adjustments = rows_of(tenant_id, UsageAdjustment).where(col(UsageAdjustment.request_id) == request_id)
    adjusted = adjustments.with_only_columns(func.coalesce(func.sum(col(UsageAdjustment.cost_picos)), 0))
    records = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    left = col(UsageRecord.cost_picos) + adjusted.scalar_subquery()
    found = (await session.execute(records.with_only_columns(left))).scalar_one_or_none()
    return None if found is None else int(found)


async def credit_request(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, request_id: str, credit_picos: int, reason: str
) -> str:
    """Credit an amount of a request, also in the budgets that paid for it; return the adjustment's id.

    The caller holds the lock of the tenant's account. The next invoice draft contains the credit.
    """
    query = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    record = (await session.execute(query)).scalar_one()
    credit = Adjustment(kind=KIND, reason=reason, cost_picos=-credit_picos)
    await adjust_request(session, actor, record, credit)
    return credit.adjustment_id
