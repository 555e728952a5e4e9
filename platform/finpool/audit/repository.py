"""Queries on the audit log."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.models import AuditEntry
from finpool.audit.schemas import Entry, Head
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
    query = select(AuditEntry).where(col(AuditEntry.seq) <= up_to).order_by(col(AuditEntry.seq)).limit(limit)
    if after is not None:
        query = query.where(col(AuditEntry.seq) > after)
    if tenant_id is not None:
        query = query.where(col(AuditEntry.tenant_id) == tenant_id)
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
    own = col(AuditEntry.tenant_id) == tenant_id
    query = select(AuditEntry).where(own).order_by(col(AuditEntry.seq).desc()).limit(limit)
    if before_hash is not None:
        known = select(col(AuditEntry.seq)).where(own, col(AuditEntry.hash) == before_hash).scalar_subquery()
        query = query.where(col(AuditEntry.seq) < known)
    return list((await session.scalars(query)).all())
