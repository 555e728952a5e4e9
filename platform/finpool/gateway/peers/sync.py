"""Keeps this gateway fair together with the others: once a second all tell each other where they stand (ADR 0023).

Nothing of it is on the path of a request, and requests go on as they went while the database is away.
"""

import asyncio
import contextlib
from collections.abc import Callable

from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError

from finpool.gateway.peers import repository as share_repository
from finpool.gateway.peers.balance import PeerBalance
from finpool.gateway.peers.repository import Run
from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database import Database
from finpool.kernel.ids import ReplicaId, new_id
from finpool.kernel.logs import logger

EXCHANGE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 2.0
LIVE_SECONDS = 5.0
"""A run not heard of for this long counts as ended, and takes itself for cut off: for both it is the same time."""

_DATABASE_ERRORS = (SQLAlchemyError, PostgresError, OSError, TimeoutError)
_log = logger("gateway.exchange")


class PeerSync:
    """The exchange of one gateway, about every engine that it has a queue for; one a process."""

    def __init__(
        self, database: Database, replica_id: ReplicaId, *, clock: Callable[[], float] = monotonic_seconds
    ) -> None:
        self._database = database
        self._clock = clock
        self._run = Run(replica_id, new_id("gateway"))
        self._engines: dict[str, PeerBalance] = {}
        self._told: dict[str, GatewayStanding] = {}
        self._gateways = 1
        self._heard_at = clock()
        self._cut_off = False
        self._task: asyncio.Task[None] | None = None

    def join(self, engine: str, shares: FairScheduler) -> None:
        """Share an engine with the other gateways from now on."""
        self._engines[engine] = PeerBalance(shares, gateways=self._gateways)

    def leave(self, engine: str) -> None:
        """Share an engine no more; the others take its slots when nothing is heard of this gateway at it."""
        self._engines.pop(engine, None)

    async def start(self) -> None:
        """Exchange once, so that no slot is taken that is another's, and then again and again."""
        await self._try_exchange()
        self._task = asyncio.create_task(self._keep_on(), name="share-exchange")

    async def close(self) -> None:
        """Stop, and leave the slots to the others."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(*_DATABASE_ERRORS):  # They also take them when nothing is heard of this run.
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
                await share_repository.delete_run(session, self._run)

    async def exchange(self) -> None:
        """Tell the others, hear what they tell, and hold the slots that come of it.

        Slots are given up before the others can know and taken after: an exchange without an answer takes none twice.
        """
        started = self._clock()
        if started - self._heard_at > LIVE_SECONDS:
            self._part()
        told: dict[str, GatewayStanding] = {}
        idle_too = not all(each.met for each in self._engines.values())
        async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
            await share_repository.lock_standings(session, ANSWER_SECONDS_MAX)
            heard = await share_repository.live_standings(session, self._run, LIVE_SECONDS, idle_too=idle_too)
            for engine, exchange in self._engines.items():
                told[engine] = exchange.meet(heard.get(engine, {}))
                exchange.hold(min(told[engine].slots, exchange.slots))
            await share_repository.write_standings(session, self._run, told, self._told)
            await share_repository.delete_ended(session, self._run)
        self._told, self._heard_at, self._cut_off = told, started, False
        self._gateways = 1 + len({run_id for shares in heard.values() for run_id in shares})
        for engine, share in told.items():
            if engine in self._engines:  # It may have been left meanwhile.
                self._engines[engine].hold(share.slots)

    async def _keep_on(self) -> None:
        while True:
            await asyncio.sleep(EXCHANGE_SECONDS)
            await self._try_exchange()

    async def _try_exchange(self) -> None:
        try:
            await self.exchange()
        except _DATABASE_ERRORS as error:
            _log.warning("gateways could not be asked for their shares", error=type(error).__name__)
        except Exception:
            _log.exception("the exchange of shares failed; it is tried again")

    def _part(self) -> None:
        """Go on alone. Others take this run for ended, so it comes back as another one."""
        if not self._cut_off:
            _log.warning("no word of other gateways for too long; each engine gets an even part of its slots at most")
        self._cut_off = True
        self._run, self._told = Run(self._run.replica_id, new_id("gateway")), {}
        for exchange in self._engines.values():
            exchange.part()
