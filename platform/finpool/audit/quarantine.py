"""The quarantine: events that the log cannot take, kept as they were written for an operator to review."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import service
from finpool.audit.errors import EventNotSetAside
from finpool.audit.models import AuditQuarantine
from finpool.audit.quarantine_schemas import QuarantinedEventPage, QuarantinedEventView, QuarantineQuery
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now

KIND = "audit.event_set_aside"
"""The kind of the entry that records in the log that an event was set aside."""

_CONTENT_BYTES_MAX = 131_072

_SET_ASIDE = text("""
    INSERT INTO audit_quarantine (outbox_id, tenant_id, content, sha256, reason, written_at)
    SELECT outbox_id, CASE WHEN tenant_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN tenant_id END,
           content, sha256(convert_to(content, 'UTF8')), :reason, written_at
    FROM audit_outbox, LATERAL (SELECT CAST(jsonb_build_object(
        'outbox_id', outbox_id, 'tenant_id', tenant_id, 'kind', kind, 'body', body,
        'occurred_at', CAST(occurred_at AT TIME ZONE 'UTC' AS text)
    ) AS text) AS content) AS written
    WHERE outbox_id = :outbox_id
    RETURNING tenant_id, encode(sha256, 'hex')
""")


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event in the quarantine: the tenant that it names, and SHA-256 of its content in hexadecimal digits."""

    tenant_id: str | None
    sha256: str


async def set_aside(session: AsyncSession, outbox_id: int, reason: str) -> SetAside:
    """Copy an event from the outbox into the quarantine; the caller deletes it from the outbox."""
    row = (await session.execute(_SET_ASIDE, {"outbox_id": outbox_id, "reason": reason})).one()
    return SetAside(row[0], row[1])


async def events_across_tenants(
    session: AsyncSession, query: QuarantineQuery, *, with_content: bool
) -> QuarantinedEventPage:
    """Return a page of the events in quarantine, in the order of their numbers."""
    wanted = _views(with_content=with_content).order_by(col(AuditQuarantine.outbox_id)).limit(query.limit)
    if query.after is not None:
        wanted = wanted.where(col(AuditQuarantine.outbox_id) > query.after)
    if not query.reviewed:
        wanted = wanted.where(col(AuditQuarantine.reviewed_at).is_(None))
    rows = (await session.execute(wanted)).mappings()
    return QuarantinedEventPage.of([QuarantinedEventView.model_validate(dict(row)) for row in rows], query)


async def review_across_tenants(
    session: AsyncSession, actor: Actor, outbox_id: int, finding: str
) -> QuarantinedEventView:
    """Record an operator's finding about an event in quarantine; a second review changes nothing.

    Raises `EventNotSetAside` if no such event is there.
    """
    waiting = update(AuditQuarantine).where(
        col(AuditQuarantine.outbox_id) == outbox_id, col(AuditQuarantine.reviewed_at).is_(None)
    )
    reviewed = waiting.values(reviewed_at=now(), reviewed_by=actor.credential_id)
    found = await session.execute(reviewed.returning(col(AuditQuarantine.outbox_id)))
    if found.scalar_one_or_none() is not None:
        body = {"outbox_id": outbox_id, "finding": finding}
        await service.append(session, kind="audit.event_reviewed", tenant_id=None, actor=actor, body=body)
    held = _views(with_content=False).where(col(AuditQuarantine.outbox_id) == outbox_id)
    row = (await session.execute(held)).mappings().one_or_none()
    if row is None:
        raise EventNotSetAside(f"The quarantine of the audit log holds no event {outbox_id}.")
    return QuarantinedEventView.model_validate(dict(row))


def _views(*, with_content: bool) -> Select[Any]:
    size = func.octet_length(col(AuditQuarantine.content))
    shown = literal(with_content) & (size <= _CONTENT_BYTES_MAX)
    return select(
        col(AuditQuarantine.outbox_id),
        col(AuditQuarantine.tenant_id),
        case((shown, col(AuditQuarantine.content))).label("content"),
        size.label("content_bytes"),
        func.encode(col(AuditQuarantine.sha256), "hex").label("sha256"),
        col(AuditQuarantine.reason),
        *(_unix_seconds(name) for name in ("written_at", "set_aside_at", "reviewed_at")),
        col(AuditQuarantine.reviewed_by),
    )


def _unix_seconds(name: str) -> ColumnElement[Any]:
    return cast(func.floor(func.extract("epoch", getattr(AuditQuarantine, name))), BigInteger).label(name)
