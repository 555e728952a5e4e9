"""The sequencer: it moves events from the outbox into the log, numbers them without a gap and chains their hashes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.models import AuditEntry, AuditOutbox
from finpool.audit.schemas import FIRST_PREVIOUS, canonical_entry, chain_hash
from finpool.kernel.database.database import Database
from finpool.kernel.database.locks import LockName, try_lock

_WAITS = text("SELECT EXISTS (SELECT 1 FROM audit_outbox)")
"""Most rounds find the outbox empty and end here: a lock writes to the database, and this does not."""


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
            events = await self._take(session)
            if events:
                await self._chain(session, events)
            return len(events)

    async def _take(self, session: AsyncSession) -> list[AuditOutbox]:
        # Transactions commit in another order than they draw outbox ids. So a smaller id may appear after a larger one
        # was moved. Each row is deleted by its id, without a high-water mark, so a later run moves such a row. The
        # log's order is the order of sequencing.
        oldest = select(col(AuditOutbox.outbox_id)).order_by(col(AuditOutbox.outbox_id)).limit(self._batch_max)
        taken = delete(AuditOutbox).where(col(AuditOutbox.outbox_id).in_(oldest)).returning(AuditOutbox)
        rows = (await session.scalars(taken, execution_options={"synchronize_session": False})).all()
        return sorted(rows, key=lambda row: row.outbox_id or 0)

    async def _chain(self, session: AsyncSession, events: Sequence[AuditOutbox]) -> None:
        newest = select(col(AuditEntry.seq), col(AuditEntry.hash)).order_by(col(AuditEntry.seq).desc()).limit(1)
        row = (await session.execute(newest)).one_or_none()
        seq, previous = (-1, FIRST_PREVIOUS) if row is None else (row[0], row[1])
        entries: list[dict[str, Any]] = []
        for event in events:
            seq += 1
            entry = canonical_entry(
                seq=seq,
                occurred_at=event.occurred_at,
                kind=event.kind,
                tenant_id=event.tenant_id,
                body=event.body,
            )
            hashed = chain_hash(previous, entry)
            entries.append(
                {
                    "seq": seq,
                    "tenant_id": event.tenant_id,
                    "entry": entry.decode(),
                    "previous": previous,
                    "hash": hashed,
                }
            )
            previous = hashed
        await session.execute(insert(AuditEntry), entries)
