"""Credits on a single request: each is a usage adjustment; the record stays."""

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, TenantId, new_id
from finpool.kernel.tenant_rows import rows_of
from finpool.metering.models import UsageAdjustment, UsageRecord
from finpool.quota.account import service as accounts

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
    adjustment_id = new_id("adjustment")
    row = {
        "tenant_id": tenant_id,
        "adjustment_id": adjustment_id,
        "kind": KIND,
        "request_id": record.request_id,
        "project_id": record.project_id,
        "model_id": record.model_id,
        "price_version": record.price_version,
        "currency": record.currency,
        "input_tokens": 0,
        "cached_input_tokens": 0,
        "output_tokens": 0,
        "cost_picos": -credit_picos,
        "reason": reason,
        "made_by": actor.credential_id,
        "usage_seq": (await accounts.number_usage(session, {tenant_id: 1}))[tenant_id],
        "recorded_at": now(),
    }
    await session.execute(insert(UsageAdjustment).values(**row))
    leases = [LeaseId(each) for each in record.lease_ids]
    await accounts.adjust(session, tenant_id, leases, -credit_picos, adjustment_id)
    return adjustment_id
