"""Queries on the audit log."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, ScalarSelect, Select, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.event_types import kinds_of
from finpool.audit.models import AuditEntry
from finpool.audit.schemas import Entry, Head, TrailQuery, written_time
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId

SEARCHED_ENTRIES_MAX = 50_000
"""The entries that one request reads for `resource_ids`, in about 50 ms; a bank's whole log would take minutes."""

_LONGEST_TRANSACTION = timedelta(minutes=10)
"""An event so much earlier than another has a smaller number: it was committed and sequenced before that one."""

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


async def trail(
    session: AsyncSession, tenant_id: TenantId, query: TrailQuery, *, limit: int
) -> tuple[list[AuditEntry], bool]:
    """Return one tenant's entries that the query selects: the newest first, or the oldest first for a page backwards.

    Indexes cover every filter but `resource_ids`, which searches at most `SEARCHED_ENTRIES_MAX` entries that the other
    filters leave. The second value tells whether entries remain that were not searched.
    """
    seq = col(AuditEntry.seq)
    own = rows_of(tenant_id, AuditEntry)
    rows = own.order_by(seq.asc() if query.backwards else seq.desc()).where(*_filters(query))
    if query.after is not None:
        rows = rows.where(seq < _number_of(own, query.after))
    if query.before is not None:
        rows = rows.where(seq > _number_of(own, query.before))
    rows = rows.where(*await _numbers_around(session, own, query))
    beyond = None
    if query.resource_ids:
        beyond = await session.scalar(rows.with_only_columns(seq).offset(SEARCHED_ENTRIES_MAX).limit(1))
        rows = rows.where(*_naming(query.resource_ids))
    if beyond is not None:
        rows = rows.where(seq < beyond if query.backwards else seq > beyond)
    return list((await session.scalars(rows.limit(limit))).all()), beyond is not None


async def _numbers_around(
    session: AsyncSession, own: Select[AuditEntry], query: TrailQuery
) -> list[ColumnElement[bool]]:
    """Return bounds of the numbers for the queried time, give or take `_LONGEST_TRANSACTION`.

    Entries are read by number. Without these bounds Postgres reads all that are newer than the queried time. They are
    read beforehand, because Postgres plans with the numbers that it knows.
    """
    seq, time = col(AuditEntry.seq), col(AuditEntry.occurred_at)
    numbers, bounds = own.with_only_columns(seq).limit(1), []
    if query.ends_before is not None:
        later = numbers.where(time >= written_time(query.ends_before + _LONGEST_TRANSACTION)).order_by(time)
        if (number := await session.scalar(later)) is not None:
            bounds.append(seq < number)
    if query.begins_at is not None:
        earlier = numbers.where(time < written_time(query.begins_at - _LONGEST_TRANSACTION)).order_by(time.desc())
        if (number := await session.scalar(earlier)) is not None:
            bounds.append(seq > number)
    return bounds


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


def _naming(resource_ids: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    if len(resource_ids) <= _SEARCHED_IDS_MAX:
        # Canonical JSON writes an id in one way, so most entries are passed over before they are parsed.
        yield or_(*(func.strpos(col(AuditEntry.entry), json.dumps(each)) > 0 for each in resource_ids))
    entry = cast(col(AuditEntry.entry), JSONB)
    yield func.jsonb_path_exists(entry, _NAMES_A_RESOURCE, func.jsonb_build_object("ids", cast(resource_ids, JSONB)))
