"""The gateway's interface to metering; every call returns only after its record is durable."""

from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.clock import now
from finpool.kernel.database import Database
from finpool.kernel.ids import ReplicaId
from finpool.metering.models import SpoolPosition
from finpool.metering.spool.schemas import Intent, Outcome, Settlement
from finpool.metering.spool.spool import Spool


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


class Metering:
    """The meter of one inference replica: it records intents, marks and settlements."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def begin(self, intent: Intent) -> None:
        """Record a request; dispatch it only after this returns. Raises `SpoolUnavailable`."""
        await self._spool.intend(intent)

    def mark(self, intent: Intent, usage: TokenUsage) -> None:
        """Note the usage of a running request; after a crash it is settled at this mark."""
        self._spool.mark(intent.request_id, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)

    async def settle(
        self, intent: Intent, outcome: Outcome, usage: TokenUsage, *, estimated: bool, queue_ms: int | None = None
    ) -> int:
        """Record the outcome and the engine's usage of a request; return its cost in picos."""
        settlement = Settlement(
            intent=intent,
            outcome=outcome,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
            estimated=estimated,
            settled_at=now().isoformat(),
            queue_ms=queue_ms,
        )
        await self._spool.settle(settlement)
        return settlement.cost_picos

    async def discard(self, intent: Intent) -> None:
        """Delete the intent of a request for which no engine computed anything."""
        await self._spool.discard(intent.request_id)
