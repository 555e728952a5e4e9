"""The gateway's interface to metering; every call returns only after its record is durable."""

from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId
from finpool.metering.models import SpoolPosition
from finpool.metering.spool.schemas import Intent, Settlement
from finpool.metering.spool.spool import Spool

MARK_TOKENS = 64
MARK_SECONDS = 0.25


async def open_spool(directory: Path, bytes_max: int, database: Database, replica_id: ReplicaId) -> Spool:
    """Open and return this replica's spool; raise as `Spool` does.

    The recorded positions are read first, because the spool's own recovery may be recorded in the same moment.
    """
    query = select(col(SpoolPosition.spool_id), col(SpoolPosition.seq)).where(
        col(SpoolPosition.replica_id) == replica_id
    )
    async with database.across_tenants() as session:
        recorded = {row.spool_id: row.seq for row in await session.execute(query)}
    return Spool(directory, bytes_max, recorded=recorded)


class Marks:
    """The marks of one running request: after a crash it is settled at its last mark."""

    def __init__(self, spool: Spool, request_id: str) -> None:
        self._spool = spool
        self._request_id = request_id
        self._tokens = 0
        self._marked_at = monotonic_seconds()

    def note(self, usage: TokenUsage) -> None:
        """Mark the usage if it grew by 64 tokens, or if the last mark is 250 ms old."""
        tokens, at = usage.input_tokens + usage.output_tokens, monotonic_seconds()
        if tokens - self._tokens >= MARK_TOKENS or at - self._marked_at >= MARK_SECONDS:
            self._spool.mark(self._request_id, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
            self._tokens, self._marked_at = tokens, at

    async def note_durably(self, usage: TokenUsage) -> None:
        """Mark the usage; durable when this returns. Raises `SpoolUnavailable`."""
        await self._spool.mark_durably(
            self._request_id, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
        )


class Metering:
    """The meter of one inference replica: it records intents, marks and settlements."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def begin(self, intent: Intent) -> Marks:
        """Record a request and return its marks; dispatch it only after this returns. Raises `SpoolUnavailable`."""
        await self._spool.intend(intent)
        return Marks(self._spool, intent.request_id)

    async def settle(self, settlement: Settlement) -> int:
        """Record the outcome and the engine's usage of a request; return its cost in picos."""
        await self._spool.settle(settlement)
        return settlement.cost_picos

    async def discard(self, intent: Intent) -> None:
        """Delete the intent of a request for which no engine computed anything."""
        await self._spool.discard(intent.request_id)
