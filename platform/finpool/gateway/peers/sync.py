"""The peer sync: once a second all gateways report and read their standings (ADR 0023).

No request waits for it, and requests continue unchanged while the database is down.
"""

import asyncio
import contextlib
from collections.abc import Callable

from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError

from finpool.gateway.peers import repository
from finpool.gateway.peers.balance import PeerBalance
from finpool.gateway.peers.repository import Run
from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, new_id
from finpool.kernel.logs import logger

SYNC_SECONDS = 1.0
ANSWER_SECONDS_MAX = 2.0
LIVE_SECONDS = 5.0
"""A run without a sync for this long counts as ended for the others, and as cut off for itself."""

_DATABASE_ERRORS = (SQLAlchemyError, PostgresError, OSError, TimeoutError)
_log = logger("gateway.peers")


class PeerSync:
    """The peer sync of one gateway, over every engine with a queue; one instance per process."""

    def __init__(
        self, database: Database, replica_id: ReplicaId, *, clock: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._database = database
        self._clock = clock
        self._run = Run(replica_id, new_id("gateway"))
        self._engines: dict[str, PeerBalance] = {}
        self._reported: dict[str, GatewayStanding] = {}
        self._gateways = 1
        self._synced_at = clock()
        self._separated = False
        self._task: asyncio.Task[None] | None = None

    def join(self, engine: str, scheduler: FairScheduler) -> None:
        """Share an engine with the other gateways from now on."""
        self._engines[engine] = PeerBalance(scheduler, gateways=self._gateways)

    def leave(self, engine: str) -> None:
        """Stop sharing an engine; the others take its slots after `LIVE_SECONDS`."""
        self._engines.pop(engine, None)

    async def start(self) -> None:
        """Sync once, so that no slot of another gateway is taken, then sync periodically."""
        await self._try_sync()
        self._task = asyncio.create_task(self._sync_periodically(), name="peer-sync")

    async def close(self) -> None:
        """Stop, and free the slots for the others."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(*_DATABASE_ERRORS):  # Otherwise the others take them after `LIVE_SECONDS`.
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
                await repository.delete_run(session, self._run)

    async def sync(self) -> None:
        """Report this gateway's standings, read those of the others, and hold the resulting slots.

        Slots are given up before the others can read it, and taken after. So a sync without an answer takes no slot
        twice.
        """
        started = self._clock()
        if started - self._synced_at > LIVE_SECONDS:
            self._separate()
        reported: dict[str, GatewayStanding] = {}
        idle_too = not all(each.met for each in self._engines.values())
        async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
            await repository.lock_standings(session, ANSWER_SECONDS_MAX)
            others = await repository.live_standings(session, self._run, LIVE_SECONDS, idle_too=idle_too)
            for engine, balance in self._engines.items():
                reported[engine] = balance.meet(others.get(engine, {}))
                balance.hold(min(reported[engine].slots, balance.slots))
            await repository.write_standings(session, self._run, reported, self._reported)
            await repository.delete_ended(session, self._run)
        self._reported, self._synced_at, self._separated = reported, started, False
        self._gateways = 1 + len({run_id for standings in others.values() for run_id in standings})
        for engine, standing in reported.items():
            if engine in self._engines:  # It may have left in the meantime.
                self._engines[engine].hold(standing.slots)

    async def _sync_periodically(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await self._try_sync()

    async def _try_sync(self) -> None:
        try:
            await self.sync()
        except _DATABASE_ERRORS as error:
            _log.warning("peer sync failed; the database does not answer", error=type(error).__name__)
        except Exception:
            _log.exception("peer sync failed; the next one retries")

    def _separate(self) -> None:
        """Continue alone under a new run id, because the others count this run as ended."""
        if not self._separated:
            _log.warning("peer sync is overdue; this gateway fills at most an even part of each engine's slots")
        self._separated = True
        self._run, self._reported = Run(self._run.replica_id, new_id("gateway")), {}
        for balance in self._engines.values():
            balance.separate()
