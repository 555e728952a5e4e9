"""Queries on disputes."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.dispute.schemas import DisputeStatus
from finpool.billing.models import Dispute
from finpool.kernel.database.tenant_rows import rows_of, update_of
from finpool.kernel.ids import TenantId


async def add(session: AsyncSession, row: Dispute) -> bool:
    """Insert an open dispute; return False if one on the same subject is already open."""
    statement = insert(Dispute).values(row.model_dump()).on_conflict_do_nothing().returning(col(Dispute.dispute_id))
    return (await session.execute(statement)).first() is not None


async def dispute(
    session: AsyncSession, tenant_id: TenantId, dispute_id: str, *, for_change: bool = False
) -> Dispute | None:
    """Return one dispute, or None; with `for_change` lock its row until the transaction ends."""
    query = rows_of(tenant_id, Dispute).where(col(Dispute.dispute_id) == dispute_id)
    query = (query.with_for_update() if for_change else query).execution_options(populate_existing=True)
    return (await session.execute(query)).scalar_one_or_none()


async def disputes_of(
    session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int
) -> Sequence[Dispute]:
    """Return a tenant's disputes, ordered by id."""
    query = rows_of(tenant_id, Dispute).where(col(Dispute.dispute_id) > (after or ""))
    return (await session.execute(query.order_by(col(Dispute.dispute_id)).limit(limit))).scalars().all()


async def disputes_across_tenants(
    session: AsyncSession, *, status: DisputeStatus | None, after: str | None, limit: int
) -> Sequence[Dispute]:
    """Return the disputes of all tenants, of one status or of all for None, ordered by id."""
    query = select(Dispute).where(col(Dispute.dispute_id) > (after or ""))
    if status is not None:
        query = query.where(col(Dispute.status) == status.value)
    return (await session.execute(query.order_by(col(Dispute.dispute_id)).limit(limit))).scalars().all()


async def answer(session: AsyncSession, row: Dispute, **values: object) -> None:
    """Update the dispute with its answer."""
    mine = update_of(TenantId(row.tenant_id), Dispute).where(col(Dispute.dispute_id) == row.dispute_id)
    await session.execute(mine.values(**values).execution_options(synchronize_session=False))
