"""The audit log: append events in the transaction that causes them, and read entries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import repository
from finpool.audit.errors import AuditEntryTooLarge, SearchTooBroad
from finpool.audit.freshness import freshness
from finpool.audit.models import AuditEntry
from finpool.audit.schemas import (
    ENTRY_BYTES_MAX,
    SEQ_MAX,
    EntryPage,
    Event,
    TrailEntry,
    TrailPage,
    TrailQuery,
    canonical_entry,
)
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId

_AROUND_BYTES_MAX = 1024
"""An upper bound for the bytes of an entry without its body."""

_ORJSON_STRICTLY = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""Refuse values that are not JSON, as the canonical form does."""

# Plain SQL: the ORM would read the new row's id with RETURNING, and writers have no SELECT right on the outbox.
_INSERT = text("""
    INSERT INTO audit_outbox (tenant_id, occurred_at, kind, body)
    SELECT tenant_id, occurred_at, kind, CAST(body AS jsonb)
    FROM unnest(
        CAST(:tenant_ids AS text[]), CAST(:times AS timestamptz[]), CAST(:kinds AS text[]), CAST(:bodies AS text[])
    ) WITH ORDINALITY AS event (tenant_id, occurred_at, kind, body, number)
    ORDER BY number
""")


async def append(
    session: AsyncSession, *, kind: str, tenant_id: TenantId | None, actor: Actor | None, body: Mapping[str, Any]
) -> None:
    """Append one event; it is recorded if, and only if, the session's transaction commits.

    `kind` is dotted (`key.revoked`). `body` holds JSON without fractions and without the key `actor`, which `actor`
    fills. Raises `AuditEntryTooLarge`, and ValueError for a body that no entry can hold.
    """
    await append_all(session, [Event(kind=kind, tenant_id=tenant_id, actor=actor, body=body)])


async def append_all(session: AsyncSession, events: Sequence[Event]) -> None:
    """Append many events in order, in one round trip; the rules of `append` hold for each."""
    if not events:
        return
    at = now()
    values = {
        "tenant_ids": [event.tenant_id for event in events],
        "times": [at] * len(events),
        "kinds": [event.kind for event in events],
        "bodies": [_body(event, at) for event in events],
    }
    await session.execute(_INSERT, values)


async def entries(
    session: AsyncSession, *, after: int | None, limit: int, tenant_id: TenantId | None = None
) -> EntryPage:
    """Return up to `limit` entries with numbers above `after` (None: from the first), of one tenant or of all."""
    head = await repository.head(session)
    if head is None:
        return EntryPage(entries=[], head=None)
    page = await repository.page(session, after=after, up_to=head.seq, limit=limit, tenant_id=tenant_id)
    return EntryPage(entries=page, head=head)


async def trail(session: AsyncSession, tenant_id: TenantId, query: TrailQuery, waiting_seconds_max: float) -> TrailPage:
    """Return a page of a tenant's own events, the newest first; raise `SearchTooBroad`."""
    rows, more_to_search = await repository.trail(session, tenant_id, query, limit=query.limit + 1)
    if more_to_search and not rows:
        raise SearchTooBroad(repository.SEARCHED_ENTRIES_MAX)
    has_more = more_to_search or len(rows) > query.limit
    if query.backwards:
        rows.reverse()
    page = rows[-query.limit :] if query.backwards else rows[: query.limit]
    data = [_trail_entry(row) for row in page]
    return TrailPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
        freshness=await freshness(session, waiting_seconds_max, tenant_id),
    )


def _trail_entry(row: AuditEntry) -> TrailEntry:
    return TrailEntry.of(row.hash.hex(), orjson.loads(row.entry))


def _body(event: Event, occurred_at: datetime) -> str:
    """Return the body as JSON; raise ValueError or `AuditEntryTooLarge` if no entry can hold it."""
    if "actor" in event.body:
        raise ValueError("an audit body names its actor through the argument, or it could claim another one")
    _require_small_integers(event.body)
    content = dict(event.body) if event.actor is None else {**event.body, "actor": _described(event.actor)}
    try:
        # orjson's text is as long as the sequencer's canonical JSON, and takes a tenth of the time.
        body = orjson.dumps(content, option=_ORJSON_STRICTLY)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"no audit entry can hold this: {error}") from error
    if len(body) + _AROUND_BYTES_MAX > ENTRY_BYTES_MAX:
        _refuse_too_long(event, occurred_at, len(body))
    return body.decode()


def _described(actor: Actor) -> dict[str, str]:
    return {"audience": actor.audience, "role": actor.role, "credential_id": actor.credential_id}


def _refuse_too_long(event: Event, occurred_at: datetime, body_bytes: int) -> None:
    around = canonical_entry(seq=SEQ_MAX, occurred_at=occurred_at, kind=event.kind, tenant_id=event.tenant_id, body={})
    length = len(around) - len(b"{}") + body_bytes
    if length > ENTRY_BYTES_MAX:
        raise AuditEntryTooLarge(
            f"The audit entry for this would take {length} bytes; at most {ENTRY_BYTES_MAX} are possible."
        )


def _require_small_integers(value: object) -> None:
    """Raise ValueError for a fraction or an integer beyond 2**53.

    Postgres turns 1e20 into an integer that canonical JSON cannot hold, which would stop the sequencer.
    """
    kind = type(value)
    if kind is str:
        return
    if isinstance(value, float):
        raise ValueError("an audit body holds integers only: amounts are micros or picos, never fractions")
    if kind is int and not -SEQ_MAX <= value <= SEQ_MAX:  # type: ignore[operator]
        raise ValueError("an audit body holds no larger integers than canonical JSON does: write them as text")
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for child in children:
        _require_small_integers(child)
