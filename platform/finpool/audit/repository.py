"""Queries on the audit log."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.models import AuditEntry
from finpool.audit.schemas import Entry, Head
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId


async def head(session: AsyncSession) -> Head | None:
    """Return the newest entry's number and hash, or None if the log is empty."""
    query = select(col(AuditEntry.seq), col(AuditEntry.hash)).order_by(col(AuditEntry.seq).desc()).limit(1)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Head(seq=row[0], hash=row[1].hex())


async def page(
    session: AsyncSession, *, after: int | None, up_to: int, limit: int, tenant_id: TenantId | None
) -> list[Entry]:
    """Return entries with `after` < number <= `up_to`, in order; of one tenant, or of all tenants for None."""
    every = select(AuditEntry) if tenant_id is None else rows_of(tenant_id, AuditEntry)
    query = every.where(col(AuditEntry.seq) <= up_to).order_by(col(AuditEntry.seq)).limit(limit)
    if after is not None:
        query = query.where(col(AuditEntry.seq) > after)
    return [
        Entry(
            seq=row.seq,
            tenant_id=row.tenant_id,
            entry=row.entry,
            previous=row.previous.hex(),
            hash=row.hash.hex(),
        )
        for row in (await session.scalars(query)).all()
    ]


async def newest_of_tenant(
    session: AsyncSession, tenant_id: TenantId, *, before_hash: bytes | None, limit: int
) -> list[AuditEntry]:
    """Return one tenant's entries before the entry with hash `before_hash`, the newest first."""
    own = rows_of(tenant_id, AuditEntry)
    query = own.order_by(col(AuditEntry.seq).desc()).limit(limit)
    if before_hash is not None:
        known = own.where(col(AuditEntry.hash) == before_hash).with_only_columns(col(AuditEntry.seq))
        query = query.where(col(AuditEntry.seq) < known.scalar_subquery())
    return list((await session.scalars(query)).all())
