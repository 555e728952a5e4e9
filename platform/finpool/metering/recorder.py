"""Moves a spool's records into Postgres, in order and each exactly once.

The position moves in the same transaction as what was recorded: after a crash anywhere the transaction either
happened, and its records are skipped, or did not, and they are recorded now.
"""

import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.audit.schemas import Event
from finpool.catalogue import price_service as prices
from finpool.catalogue.price_schemas import TokenPrice
from finpool.kernel import telemetry
from finpool.kernel.clock import now
from finpool.kernel.database import Database
from finpool.kernel.ids import LeaseId, ReplicaId, TenantId
from finpool.kernel.logs import logger
from finpool.metering import spool_file
from finpool.metering.models import SpoolPosition, UsageRecord
from finpool.metering.record_schemas import RecordKind, Settlement, decode_lease_return, decode_settlement
from finpool.quota import account_service as accounts

BATCH_MAX = 500
_log = logger("metering.recorder")
_READ = "SELECT seq, kind, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?"


class Recorder:
    """The recorder of one replica's spool; it may run in another process than the replica."""

    def __init__(self, database: Database, directory: Path, replica_id: ReplicaId) -> None:
        self._database = database
        self._replica_id = replica_id
        self._connection = spool_file.connect(directory)
        self._spool_id = spool_file.spool_id(self._connection)
        self._batch_max = BATCH_MAX

    def close(self) -> None:
        """Close the spool's file."""
        self._connection.close()

    async def run_once(self) -> int:
        """Record the next batch; returns how many records it held, 0 if there was none."""
        settlements: list[Settlement] = []
        rows: list[tuple[int, str, bytes]] = []
        try:
            async with self._database.across_tenants() as session:
                position = await self._lock_position(session)
                rows = self._connection.execute(_READ, (position, self._batch_max)).fetchall()
                if rows:
                    settlements = await self._record(session, rows)
                    await self._move_position(session, rows[-1][0])
        except Exception as error:
            self._narrow_down(rows, error)
            raise
        self._batch_max = min(BATCH_MAX, self._batch_max * 2)
        for each in settlements:
            _count(each)
        recorded_up_to = rows[-1][0] if rows else position
        self._trim(recorded_up_to)
        return len(rows)

    def lag(self) -> int:
        """Return how many records wait in the spool."""
        return int(self._connection.execute("SELECT count(*) FROM record").fetchone()[0])

    async def _lock_position(self, session: AsyncSession) -> int:
        key = {"replica_id": self._replica_id, "spool_id": self._spool_id}
        await session.execute(insert(SpoolPosition).values(**key, seq=0, updated_at=now()).on_conflict_do_nothing())
        row = (await session.execute(select(SpoolPosition).filter_by(**key).with_for_update())).scalar_one()
        return row.seq

    async def _move_position(self, session: AsyncSession, seq: int) -> None:
        moved = update(SpoolPosition).filter_by(replica_id=self._replica_id, spool_id=self._spool_id)
        await session.execute(moved.values(seq=seq, updated_at=now()))

    async def _record(self, session: AsyncSession, rows: list[tuple[int, str, bytes]]) -> list[Settlement]:
        """Apply one batch; returns its settlements."""
        settlements = [(seq, decode_settlement(body)) for seq, kind, body in rows if kind == RecordKind.SETTLEMENT]
        returned = [decode_lease_return(body) for _, kind, body in rows if kind == RecordKind.LEASE_RETURN]
        tenants = {each.intent.tenant_id for _, each in settlements} | {each.tenant_id for each in returned}
        await accounts.lock_accounts(session, {TenantId(each) for each in tenants})
        if settlements:
            await self._insert_usage(session, settlements)
            costs: Counter[tuple[TenantId, tuple[LeaseId, ...]]] = Counter()
            for _, each in settlements:
                lease_ids = tuple(LeaseId(lease_id) for lease_id in each.intent.lease_ids)
                costs[(TenantId(each.intent.tenant_id), lease_ids)] += each.cost_picos
            await accounts.post(session, costs, f"{self._spool_id}/{settlements[0][0]}-{settlements[-1][0]}")
        if returned:
            leases = [(TenantId(each.tenant_id), LeaseId(each.lease_id)) for each in returned]
            await accounts.close_leases(session, leases)
        return [each for _, each in settlements]

    async def _insert_usage(self, session: AsyncSession, settlements: list[tuple[int, Settlement]]) -> None:
        """Write usage records, numbered in the order in which they are committed, and the events about them."""
        counts = Counter(TenantId(each.intent.tenant_id) for _, each in settlements)
        following = await accounts.number_usage(session, counts)
        values, at = [], now()
        for seq, each in settlements:
            tenant_id = TenantId(each.intent.tenant_id)
            numbered = {"usage_seq": following[tenant_id], "recorded_at": at}
            values.append(_usage_row(self._replica_id, seq, each) | numbered)
            following[tenant_id] += 1
        await prices.register(session, {_price(each) for _, each in settlements})
        await session.execute(insert(UsageRecord), values)
        await audit.append_all(session, [_event(each) for _, each in settlements])

    def _narrow_down(self, rows: list[tuple[int, str, bytes]], error: Exception) -> None:
        """Take one record at a time after a failure, so that one that cannot be recorded holds up as few as possible.

        It is never skipped: it is named, and an operator decides.
        """
        self._batch_max = 1
        if len(rows) == 1:
            seq, kind, _ = rows[0]
            _log.error("a record cannot be recorded", seq=seq, kind=kind, error=type(error).__name__)

    def _trim(self, seq: int) -> None:
        """Delete what is recorded; if the replica is writing just now, the next time will do."""
        try:
            self._connection.execute("DELETE FROM record WHERE seq <= ?", (seq,))
        except sqlite3.OperationalError:
            return


def _usage_row(replica_id: ReplicaId, seq: int, settlement: Settlement) -> dict[str, object]:
    intent = settlement.intent
    return {
        "tenant_id": intent.tenant_id,
        "request_id": intent.request_id,
        "project_id": intent.project_id,
        "key_id": intent.key_id,
        "model_id": intent.model_id,
        "weights_sha256": intent.weights_sha256,
        "price_version": intent.price_version,
        "currency": intent.currency,
        "input_tokens": settlement.input_tokens,
        "cached_input_tokens": settlement.cached_input_tokens,
        "output_tokens": settlement.output_tokens,
        "cost_picos": settlement.cost_picos,
        "outcome": settlement.outcome.value,
        "estimated": settlement.estimated,
        "streamed": intent.streamed,
        "policy_version": intent.policy_version,
        "lease_ids": list(intent.lease_ids),
        "tier": intent.tier,
        "replica_id": replica_id,
        "spool_seq": seq,
        "started_at": datetime.fromisoformat(intent.started_at),
        "settled_at": datetime.fromisoformat(settlement.settled_at),
    }


def _price(settlement: Settlement) -> TokenPrice:
    intent = settlement.intent
    return TokenPrice(
        price_version=intent.price_version,
        model_id=intent.model_id,
        currency=intent.currency,
        input_picos=intent.input_picos,
        cached_input_picos=intent.cached_input_picos,
        output_picos=intent.output_picos,
    )


def _event(settlement: Settlement) -> Event:
    intent = settlement.intent
    body = {
        "request_id": intent.request_id,
        "project_id": intent.project_id,
        "key_id": intent.key_id,
        "model_id": intent.model_id,
        "weights_sha256": intent.weights_sha256,
        "price_version": intent.price_version,
        "policy_version": intent.policy_version,
        "input_tokens": settlement.input_tokens,
        "cached_input_tokens": settlement.cached_input_tokens,
        "output_tokens": settlement.output_tokens,
        "cost_picos": str(settlement.cost_picos),
        "currency": intent.currency,
        "outcome": settlement.outcome.value,
        "estimated": settlement.estimated,
        "started_at": intent.started_at,
        "settled_at": settlement.settled_at,
    }
    return Event(kind="usage.recorded", tenant_id=TenantId(intent.tenant_id), actor=None, body=body)


def _count(settlement: Settlement) -> None:
    labels = {telemetry.TENANT: settlement.intent.tenant_id, telemetry.REQUEST_MODEL: settlement.intent.model_id}
    telemetry.requests_total.add(1, {**labels, telemetry.OUTCOME: settlement.outcome.value})
    telemetry.tokens_total.add(settlement.input_tokens, {**labels, "direction": "input"})
    telemetry.tokens_total.add(settlement.output_tokens, {**labels, "direction": "output"})
