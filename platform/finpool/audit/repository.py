"""Queries on the audit log."""

import json
from collections.abc import Iterator

from sqlalchemy import ColumnElement, ScalarSelect, Select, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.event_types import kinds_of
from finpool.audit.models import AuditEntry
from finpool.audit.schemas import Entry, Head, TrailQuery, written_time
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId

_SEARCHED_IDS_MAX = 4
"""To search an entry's text for more ids takes longer than to parse it."""

_NAMES_A_RESOURCE = text("""'$.body.keyvalue() ? (@.key like_regex "_id$" && @.value == $ids[*])'::jsonpath""")


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


async def trail(session: AsyncSession, tenant_id: TenantId, query: TrailQuery, *, limit: int) -> list[AuditEntry]:
    """Return one tenant's entries that the query selects: the newest first, or the oldest first for a page backwards.

    Indexes cover every filter but `resource_ids`, which reads the entries that the other filters leave.
    """
    seq = col(AuditEntry.seq)
    own = rows_of(tenant_id, AuditEntry)
    rows = own.order_by(seq.asc() if query.backwards else seq.desc()).limit(limit).where(*_filters(query))
    if query.after is not None:
        rows = rows.where(seq < _number_of(own, query.after))
    if query.before is not None:
        rows = rows.where(seq > _number_of(own, query.before))
    return list((await session.scalars(rows)).all())


def _number_of(own: Select[AuditEntry], entry_hash: str) -> ScalarSelect[int]:
    """Return the number of a tenant's own entry; another's entry has none, so nothing compares with it."""
    return (
        own.where(col(AuditEntry.hash) == bytes.fromhex(entry_hash))
        .with_only_columns(col(AuditEntry.seq))
        .scalar_subquery()
    )


def _filters(query: TrailQuery) -> Iterator[ColumnElement[bool]]:
    kind, time = col(AuditEntry.kind), col(AuditEntry.occurred_at)
    if query.begins_at is not None:
        yield time >= written_time(query.begins_at)
    if query.ends_before is not None:
        yield time < written_time(query.ends_before)
    if query.event_types:
        kinds, all_but = kinds_of(query.event_types)
        named = kind.in_(kinds)
        yield named if all_but is None else or_(named, kind.not_in(all_but))
    if query.project_ids:
        yield col(AuditEntry.project_id).in_(query.project_ids)
    if query.actor_ids:
        yield col(AuditEntry.actor_id).in_(query.actor_ids)
    if query.resource_ids:
        if len(query.resource_ids) <= _SEARCHED_IDS_MAX:
            # Canonical JSON writes an id in one way, so most entries are passed over before they are parsed.
            yield or_(*(func.strpos(col(AuditEntry.entry), json.dumps(each)) > 0 for each in query.resource_ids))
        entry = cast(col(AuditEntry.entry), JSONB)
        yield func.jsonb_path_exists(
            entry, _NAMES_A_RESOURCE, func.jsonb_build_object("ids", cast(query.resource_ids, JSONB))
        )
