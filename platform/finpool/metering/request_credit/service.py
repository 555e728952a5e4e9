"""Credits on a single request: each is a usage adjustment; the record stays."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A usage record with the rest of its cost after all adjustments."""

    record: UsageRecord
    left_picos: int


async def is_recorded(session: AsyncSession, tenant_id: TenantId, request_id: str) -> bool:
    """Tell whether the tenant has a usage record of the request."""
    query = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    return (await session.execute(query.with_only_columns(col(UsageRecord.request_id)))).first() is not None


async def recorded_request(session: AsyncSession, tenant_id: TenantId, request_id: str) -> RecordedRequest | None:
    """Return the usage record of a request, or None; the caller holds the lock of the tenant's account."""
    adjustments = rows_of(tenant_id, UsageAdjustment).where(col(UsageAdjustment.request_id) == request_id)
    total = adjustments.with_only_columns(func.coalesce(func.sum(col(UsageAdjustment.cost_picos)), 0))
    records = rows_of(tenant_id, UsageRecord).where(col(UsageRecord.request_id) == request_id)
    query = records.add_columns(total.scalar_subquery().label("adjusted_picos"))
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    return RecordedRequest(row.UsageRecord, row.UsageRecord.cost_picos + int(row.adjusted_picos))


async def credit_request(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, request: RecordedRequest, credit_picos: int, reason: str
) -> str:
    """Credit an amount of a request, also in the budgets that paid for it; return the adjustment's id.

    The caller holds the lock of the tenant's account. The next invoice draft contains the credit.
    """
    record = request.record
    row = {
        "tenant_id": tenant_id,
        "adjustment_id": new_id("adjustment"),
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
    adjustment_id = str(row["adjustment_id"])
    await session.execute(insert(UsageAdjustment).values(**row))
    leases = [LeaseId(each) for each in record.lease_ids]
    await accounts.adjust(session, tenant_id, leases, -credit_picos, adjustment_id)
    return adjustment_id
