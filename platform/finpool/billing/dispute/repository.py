"""Disputes in Postgres, and the adjustment that an accepted one about a request leads to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.dispute.schemas import DisputeStatus
from finpool.billing.models import Dispute
from finpool.kernel.ids import LeaseId, TenantId


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What was recorded of a request, and what is left of its cost after every adjustment of it."""

    request_id: str
    project_id: str
    model_id: str
    price_version: str
    currency: str
    lease_ids: tuple[LeaseId, ...]
    left_picos: int


async def add(session: AsyncSession, row: Dispute) -> bool:
    """Write an open dispute; return False if one about the same is open already."""
    statement = insert(Dispute).values(row.model_dump()).on_conflict_do_nothing().returning(col(Dispute.dispute_id))
    return (await session.execute(statement)).first() is not None


async def dispute(
    session: AsyncSession, tenant_id: TenantId, dispute_id: str, *, for_change: bool = False
) -> Dispute | None:
    """Return one dispute; with `for_change` its row is locked until the transaction ends."""
    query = select(Dispute).filter_by(tenant_id=tenant_id, dispute_id=dispute_id)
    query = (query.with_for_update() if for_change else query).execution_options(populate_existing=True)
    return (await session.execute(query)).scalar_one_or_none()


async def disputes_of(
    session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int
) -> Sequence[Dispute]:
    """Return a tenant's disputes, by id."""
    query = select(Dispute).where(col(Dispute.tenant_id) == tenant_id, col(Dispute.dispute_id) > (after or ""))
    return (await session.execute(query.order_by(col(Dispute.dispute_id)).limit(limit))).scalars().all()


async def disputes_across_tenants(
    session: AsyncSession, *, status: DisputeStatus | None, after: str | None, limit: int
) -> Sequence[Dispute]:
    """Return the disputes of all tenants, by id: all of them, or those of one status."""
    query = select(Dispute).where(col(Dispute.dispute_id) > (after or ""))
    if status is not None:
        query = query.where(col(Dispute.status) == status.value)
    return (await session.execute(query.order_by(col(Dispute.dispute_id)).limit(limit))).scalars().all()


async def answer(session: AsyncSession, row: Dispute, **values: object) -> None:
    """Write the answer."""
    mine = update(Dispute).where(col(Dispute.tenant_id) == row.tenant_id, col(Dispute.dispute_id) == row.dispute_id)
    await session.execute(mine.values(**values).execution_options(synchronize_session=False))


_EXISTS = text("SELECT 1 FROM usage_record WHERE tenant_id = :tenant_id AND request_id = :request_id")


async def is_recorded(session: AsyncSession, tenant_id: TenantId, request_id: str) -> bool:
    """Tell whether the tenant's request was recorded."""
    values = {"tenant_id": tenant_id, "request_id": request_id}
    return (await session.execute(_EXISTS, values)).first() is not None


_RECORDED = text("""
    SELECT request_id, project_id, model_id, price_version, currency, lease_ids, cost_picos + (
        SELECT COALESCE(sum(cost_picos), 0) FROM usage_adjustment a
        WHERE a.tenant_id = u.tenant_id AND a.request_id = u.request_id
    ) AS left_picos
    FROM usage_record u WHERE tenant_id = :tenant_id AND request_id = :request_id
""")


async def recorded_request(session: AsyncSession, tenant_id: TenantId, request_id: str) -> RecordedRequest | None:
    """Return what was recorded of a request; the tenant's account must be locked, or more may be credited meanwhile."""
    values = {"tenant_id": tenant_id, "request_id": request_id}
    row = (await session.execute(_RECORDED, values)).first()
    if row is None:
        return None
    return RecordedRequest(
        row.request_id,
        row.project_id,
        row.model_id,
        row.price_version,
        row.currency,
        tuple(LeaseId(each) for each in row.lease_ids),
        int(row.left_picos),
    )


_ADJUST = text("""
    INSERT INTO usage_adjustment (
        tenant_id, adjustment_id, kind, request_id, project_id, model_id, price_version, currency,
        input_tokens, cached_input_tokens, output_tokens, cost_picos, reason, made_by, usage_seq, recorded_at
    ) VALUES (
        :tenant_id, :adjustment_id, 'dispute', :request_id, :project_id, :model_id, :price_version, :currency,
        0, 0, 0, CAST(CAST(:cost AS text) AS numeric), :reason, :made_by, :usage_seq, :recorded_at
    )
""")


async def add_adjustment(
    session: AsyncSession,
    tenant_id: TenantId,
    request: RecordedRequest,
    *,
    adjustment_id: str,
    cost_picos: int,
    reason: str,
    made_by: str,
    usage_seq: int,
    recorded_at: datetime,
) -> None:
    """Write the adjustment of a disputed request; the next invoice that is drafted holds it."""
    values = {
        "tenant_id": tenant_id,
        "adjustment_id": adjustment_id,
        "request_id": request.request_id,
        "project_id": request.project_id,
        "model_id": request.model_id,
        "price_version": request.price_version,
        "currency": request.currency,
        "cost": str(cost_picos),
        "reason": reason,
        "made_by": made_by,
        "usage_seq": usage_seq,
        "recorded_at": recorded_at,
    }
    await session.execute(_ADJUST, values)
