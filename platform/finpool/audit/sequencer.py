"""The sequencer: it moves events from the outbox into the log, numbers them without a gap and chains their hashes.

An event that the log cannot take is set aside, and an entry says so: one bad row holds up nobody's evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import quarantine
from finpool.audit.models import AuditEntry
from finpool.audit.schemas import FIRST_PREVIOUS, canonical_entry, chain_hash
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.database.locks import LockName, try_lock
from finpool.kernel.logs import logger

_log = logger("audit.sequencer")
_WAITS = text("SELECT EXISTS (SELECT 1 FROM audit_outbox)")
"""Most rounds find the outbox empty and end here: a lock writes to the database, and this does not."""

# Transactions commit in another order than they draw outbox ids. So a smaller id may appear after a larger one was
# moved. Each row is deleted by its id, without a high-water mark, so a later run moves such a row. The log's order is
# the order of sequencing.
_OLDEST = text("""
    WITH oldest AS MATERIALIZED (
        SELECT outbox_id, tenant_id, occurred_at, kind, body,
               public.audit_fault(tenant_id, occurred_at, kind, body) AS fault
        FROM audit_outbox ORDER BY outbox_id LIMIT :limit
    )
    SELECT outbox_id, fault, CASE WHEN fault IS NULL THEN tenant_id END AS tenant_id,
           CASE WHEN fault IS NULL THEN occurred_at END AS occurred_at,
           CASE WHEN fault IS NULL THEN kind END AS kind,
           CASE WHEN fault IS NULL THEN CAST(body AS text) END AS body
    FROM oldest ORDER BY outbox_id
""")
"""The driver cannot read every value, such as a moment before the year 1; an event with a fault comes without them."""

_DELETE = text("DELETE FROM audit_outbox WHERE outbox_id IN :ids").bindparams(bindparam("ids", expanding=True))

_ABOUT_A_ROW = ("22", "23502", "23514", "54")
"""SQLSTATEs of a row that cannot be stored: data, null, check, and program limits such as an index row's size.

A number that is taken is not among them: it is another sequencer's, and the next run goes on from there.
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An event of the outbox; with a fault, its other fields are None."""

    outbox_id: int
    fault: str | None
    tenant_id: str | None
    occurred_at: datetime
    kind: str
    body: str


class _Chain:
    """The end of the log, to which entries are added."""

    def __init__(self, seq: int, previous: bytes) -> None:
        self.seq = seq
        self.previous = previous

    def add(self, occurred_at: datetime, kind: str, tenant_id: str | None, body: dict[str, Any]) -> dict[str, Any]:
        """Return the next entry's row; a body without a canonical form raises and leaves the chain as it was."""
        seq, previous = self.seq + 1, self.previous
        entry = canonical_entry(seq=seq, occurred_at=occurred_at, kind=kind, tenant_id=tenant_id, body=body)
        row = {"seq": seq, "tenant_id": tenant_id, "entry": entry.decode(), "previous": previous}
        self.seq, self.previous = seq, chain_hash(previous, entry)
        return {**row, "hash": self.previous}


class Sequencer:
    """The log's only writer. Several may run; a lock of the worker's role lets one of them work at a time."""

    def __init__(self, database: Database, batch_max: int = 1000) -> None:
        self._database = database
        self._batch_max = batch_max

    async def run_once(self) -> int:
        """Move up to `batch_max` events and return their number; return 0 for an empty outbox, and while another
        sequencer holds the lock."""
        async with self._database.across_tenants() as session:
            if not (await session.scalar(_WAITS) and await try_lock(session, LockName.AUDIT_SEQUENCER)):
                return 0
            rows = (await session.execute(_OLDEST, {"limit": self._batch_max})).all()
            events = [_Waiting(*row) for row in rows]
            if events:
                await self._move(session, events)
                await session.execute(_DELETE, {"ids": [each.outbox_id for each in events]})
            return len(events)

    async def _move(self, session: AsyncSession, events: Sequence[_Waiting]) -> None:
        chain = await self._chain(session)
        entries, refused = _chained(chain, events)
        try:
            async with session.begin_nested():
                await _insert(session, entries)
        except DBAPIError as error:
            if not _is_about_a_row(error):
                raise
            chain = await self._chain(session)
            refused = await _insert_one_by_one(session, chain, events)
        for event, reason in refused:
            aside = await quarantine.set_aside(session, event.outbox_id, reason)
            _log.error("an event cannot enter the log and is set aside", outbox_id=event.outbox_id, reason=reason)
            body = {"outbox_id": event.outbox_id, "sha256": aside.sha256, "reason": reason}
            await _insert(session, [chain.add(now(), quarantine.KIND, aside.tenant_id, body)])

    async def _chain(self, session: AsyncSession) -> _Chain:
        newest = select(col(AuditEntry.seq), col(AuditEntry.hash)).order_by(col(AuditEntry.seq).desc()).limit(1)
        row = (await session.execute(newest)).one_or_none()
        return _Chain(-1, FIRST_PREVIOUS) if row is None else _Chain(row[0], row[1])


def _chained(chain: _Chain, events: Sequence[_Waiting]) -> tuple[list[dict[str, Any]], list[tuple[_Waiting, str]]]:
    """Return the entries of events, and the events that have no canonical form, each with the reason."""
    entries, refused = [], []
    for event in events:
        if event.fault is not None:
            refused.append((event, event.fault))
            continue
        try:
            entries.append(chain.add(event.occurred_at, event.kind, event.tenant_id, orjson.loads(event.body)))
        except Exception as error:  # Any failure of the encoder is about this one row.
            refused.append((event, f"its body has no canonical form ({type(error).__name__})"))
    return entries, refused


async def _insert_one_by_one(
    session: AsyncSession, chain: _Chain, events: Sequence[_Waiting]
) -> list[tuple[_Waiting, str]]:
    """Insert the entries that Postgres takes; return the events of the others, each with the reason."""
    refused: list[tuple[_Waiting, str]] = []
    for event in events:
        before = chain.seq, chain.previous
        entries, unfit = _chained(chain, [event])
        refused += unfit
        try:
            async with session.begin_nested():
                await _insert(session, entries)
        except DBAPIError as error:
            if not _is_about_a_row(error):
                raise
            chain.seq, chain.previous = before
            refused.append((event, f"Postgres refuses its entry ({_sqlstate(error)})"))
    return refused


async def _insert(session: AsyncSession, entries: Sequence[dict[str, Any]]) -> None:
    if entries:
        await session.execute(insert(AuditEntry), list(entries))


def _is_about_a_row(error: DBAPIError) -> bool:
    return _sqlstate(error).startswith(_ABOUT_A_ROW)


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
