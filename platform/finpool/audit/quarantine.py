"""The quarantine: events that the log cannot take, kept as they were written for an operator to review."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

KIND = "audit.event_set_aside"
"""The kind of the entry that records in the log that an event was set aside."""

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
