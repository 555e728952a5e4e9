"""The real quota, spool and recorder of several replicas in one process, on a real Postgres, for one tenant."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ledger_model import PRICES, Tokens
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, RequestId, TenantId, new_id
from finpool.metering.meter.service import Metering
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.schemas import Intent, Outcome, Settlement
from finpool.metering.spool.spool import Spool
from finpool.quota.errors import InsufficientQuota
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota, Reservation
from finpool.quota.schemas import Subject

SPOOL_BYTES_MAX = 10**8
LEASE_SHARE = 0.5
REFUSAL_REMEMBERED_SECONDS = 0.12


class LostAnswer(Database):
    """A database whose transactions fail at their commit, before it or, `committed`, right after it."""

    committed = False

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that ends in an error."""
        async with super().across_tenants() as session:
            yield session
            if not self.committed:
                raise OSError("the connection broke before the commit")
        raise OSError("the connection broke after the commit")


class LedgerReplica:
    """One gateway's quota and meter, and the recorder of its spool."""

    def __init__(self, name: str, directory: Path, database: Database, tenant_id: TenantId) -> None:
        self.name = name
        self._directory = directory
        self._database = database
        self._tenant_id = tenant_id
        self._open: dict[str, tuple[Reservation, Intent]] = {}

    async def start(self) -> None:
        """Start as the inference app does: settle what is open, and give back what an earlier run held."""
        self._spool = Spool(self._directory, SPOOL_BYTES_MAX)
        self._metering = Metering(self._spool)
        self._limits = LimitDirectory()
        holder = Holder(ReplicaId(self.name), self._spool.spool_id, new_id("run"))
        self._allotments = Allotments(
            self._database, holder, self._spool.return_lease, share_of_rest=LEASE_SHARE, idle_seconds=0.0
        )
        await self._allotments.recover()
        self._quota = Quota(self._limits, self._allotments)
        await self.hear_of_limits()

    async def die(self) -> None:
        """Drop everything in memory, as a kill does; the spool's records stay."""
        await self._spool.close()
        self._open.clear()

    async def hear_of_limits(self) -> None:
        """Read the limits again, as a pushed change makes it do."""
        async with self._database.across_tenants() as session:
            await self._limits.load(session, self._tenant_id)

    async def reserve(self, project_id: str, amount_picos: int) -> str | None:
        """Reserve, and put the intent on record; returns the request's id, or None if it is refused."""
        request_id = RequestId(new_id("req"))
        subject = Subject(self._tenant_id, project_id, "key", "model")
        try:
            reservation = await self._quota.reserve(subject, request_id, amount_picos=amount_picos, tokens=1)
        except InsufficientQuota:
            return None
        intent = Intent(
            request_id=request_id,
            tenant_id=self._tenant_id,
            project_id=project_id,
            key_id="key",
            model_id="model",
            weights_sha256="0" * 64,
            price_version="model@1",
            currency="CNY",
            input_picos=PRICES[0],
            cached_input_picos=PRICES[1],
            output_picos=PRICES[2],
            policy_version=1,
            lease_ids=reservation.lease_ids,
            streamed=False,
            started_at=now().isoformat(),
        )
        await self._metering.begin(intent)
        self._open[request_id] = (reservation, intent)
        return request_id

    def mark(self, request_id: str, tokens: Tokens) -> None:
        """Note how far a request has come."""
        self._spool.mark(request_id, *tokens)

    async def settle(self, request_id: str, outcome: str, tokens: Tokens) -> None:
        """End a request that an engine served."""
        reservation, intent = self._open.pop(request_id)
        settlement = Settlement(intent, Outcome(outcome), *tokens, estimated=False, settled_at=now().isoformat())
        cost = await self._metering.settle(settlement)
        self._quota.settle(reservation, cost_picos=cost, tokens=1)

    async def release(self, request_id: str) -> None:
        """End a request that no engine saw."""
        reservation, intent = self._open.pop(request_id)
        await self._metering.discard(intent)
        self._quota.release(reservation)

    async def give_back(self, *, leaving: bool = False) -> None:
        """Return the leases that nothing is paid out of; `leaving` takes the others out of use, too."""
        if leaving:
            self._allotments.leases.drain(None)
        await self._allotments.return_unused()

    async def record(self, worker: Database) -> None:
        """Record all that the spool holds."""
        recorder = Recorder(worker, self._directory, ReplicaId(self.name))
        try:
            while await recorder.run_once():
                pass
        finally:
            recorder.close()

    def spooled(self) -> tuple[set[str], list[Any]]:
        """Return the ids of the intents on disk, and the records as they are."""
        connection = sqlite3.connect(self._directory / "spool.sqlite3", timeout=10)
        try:
            intents = {row[0] for row in connection.execute("SELECT request_id FROM intent")}
            return intents, connection.execute("SELECT seq, kind, body FROM record").fetchall()
        finally:
            connection.close()

    def put_back(self, records: list[Any]) -> None:
        """Let records that were recorded already lie in the spool again."""
        connection = sqlite3.connect(self._directory / "spool.sqlite3", timeout=10)
        try:
            with connection:
                connection.executemany("INSERT OR IGNORE INTO record (seq, kind, body) VALUES (?, ?, ?)", records)
        finally:
            connection.close()


async def settle_background_work() -> None:
    """Let what was begun ahead of its need end, so that each step of the machine stands on its own."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.gather(*others, return_exceptions=True)
