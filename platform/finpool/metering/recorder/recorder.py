"""The recorder: it moves a spool's records into Postgres, in order and each exactly once.

The spool position moves in the same transaction as the records. After a crash the transaction has either committed, and
its records are skipped, or not, and they are recorded now.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.catalogue.price import service as prices
from finpool.kernel import telemetry
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import LeaseId, ReplicaId, TenantId
from finpool.kernel.logs import logger
from finpool.metering.errors import RecordDamaged, SpoolCorrupt, SpoolUnusable
from finpool.metering.models import SpoolPosition
from finpool.metering.recorder.rows import Numbered, event_of, insert_usage, price_of
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.reserve import is_full, trim_in_parts
from finpool.metering.spool.schemas import (
    LeaseReturn,
    RecordKind,
    Settlement,
    decode_lease_return,
    decode_settlement,
)
from finpool.quota.account import service as accounts

BATCH_MAX = 1000
_log = logger("metering.recorder")
_READ = "SELECT seq, kind, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?"
_Row = tuple[int, str, bytes]


@dataclass(frozen=True, slots=True)
class _Open:
    """The open spool; device and inode reveal when another file has replaced it."""

    connection: sqlite3.Connection
    lock: IO[bytes]
    spool_id: str
    identity: tuple[int, int] | None


class Recorder:
    """The recorder of one replica's spool; it may run in another process than the replica."""

    def __init__(self, database: Database, directory: Path, replica_id: ReplicaId) -> None:
        self._database = database
        self._directory = directory
        self._replica_id = replica_id
        self._open: _Open | None = None
        self._refused: tuple[object, SpoolCorrupt] | None = None
        self._batch_max = BATCH_MAX
        self._position_stored = False

    def close(self) -> None:
        """Close the spool's file."""
        if self._open is not None:
            self._open.connection.close()
            self._open.lock.close()
            self._open = None
            self._position_stored = False

    async def run_once(self) -> int:
        """Record the next batch and return the number of its records, 0 for an empty spool.

        Raises `SpoolUnusable` or `SpoolCorrupt` for an unreadable file, and `RecordDamaged` for an undecodable record.
        Such a record is named and never skipped; an operator decides.
        """
        spool = self._spool()
        rows = await self._record_batch(spool) if self._has_work(spool) else []
        if not rows and spool_file.identity(self._directory) != spool.identity:
            _log.error("the spool was deleted or replaced; its readable records are recorded")
            self.close()
        return len(rows)

    def _has_work(self, spool: _Open) -> bool:
        """Tell whether a record waits, or the spool's position is not stored yet; no idle round asks the database."""
        return not self._position_stored or bool(self._read(spool, 0, 1))

    async def _record_batch(self, spool: _Open) -> list[_Row]:
        """Record the next batch, move the position behind it, and return its records."""
        settlements: list[Settlement] = []
        rows: list[_Row] = []
        try:
            async with self._database.across_tenants() as session:
                position = await self._lock_position(session)
                rows = self._read(spool, position, self._batch_max)
                if rows:
                    settlements = await self._record(session, rows)
                    await self._move_position(session, rows[-1][0])
        except Exception as error:
            self._narrow_down(rows, error)
            raise
        self._position_stored = True
        self._batch_max = min(BATCH_MAX, self._batch_max * 2)
        for each in settlements:
            _count(each)
        self._trim(rows[-1][0] if rows else position)
        return rows

    def _spool(self) -> _Open:
        """Return the spool, opened if necessary; a rejected file is read again only after it has changed."""
        if self._open is None:
            stamp = _stamp(self._directory)
            if self._refused is not None and self._refused[0] == stamp:
                raise self._refused[1]
            try:
                self._open = _opened(self._directory)
            except SpoolCorrupt as error:
                self._refused = (stamp, error)
                raise
            self._refused = None
        return self._open

    def _read(self, spool: _Open, position: int, count_max: int) -> list[_Row]:
        try:
            with spool_file.translated(self._directory / spool_file.FILE_NAME):
                return spool.connection.execute(_READ, (position, count_max)).fetchall()
        except SpoolUnusable:
            # Close it, so that an operator can repair it; the next run opens it again.
            self.close()
            raise

    async def _lock_position(self, session: AsyncSession) -> int:
        key = self._key()
        await session.execute(insert(SpoolPosition).values(**key, seq=0, updated_at=now()).on_conflict_do_nothing())
        row = (await session.execute(select(SpoolPosition).filter_by(**key).with_for_update())).scalar_one()
        return row.seq

    async def _move_position(self, session: AsyncSession, seq: int) -> None:
        moved = update(SpoolPosition).filter_by(**self._key())
        await session.execute(moved.values(seq=seq, updated_at=now()))

    def _key(self) -> dict[str, str]:
        return {"replica_id": self._replica_id, "spool_id": self._spool().spool_id}

    async def _record(self, session: AsyncSession, rows: list[_Row]) -> list[Settlement]:
        """Apply one batch and return its settlements."""
        decoded = [(row[0], _decoded(row)) for row in rows]
        settlements = [(seq, each) for seq, each in decoded if isinstance(each, Settlement)]
        returned = [
            (TenantId(each.tenant_id), LeaseId(each.lease_id)) for _, each in decoded if isinstance(each, LeaseReturn)
        ]
        tenants = {TenantId(each.intent.tenant_id) for _, each in settlements} | {
            tenant_id for tenant_id, _ in returned
        }
        await accounts.lock_accounts(session, tenants)
        if settlements:
            await self._insert_usage(session, settlements)
            costs: Counter[tuple[TenantId, tuple[LeaseId, ...]]] = Counter()
            for _, each in settlements:
                lease_ids = tuple(LeaseId(lease_id) for lease_id in each.intent.lease_ids)
                costs[(TenantId(each.intent.tenant_id), lease_ids)] += each.cost_picos
            await accounts.post(session, costs, f"{self._spool().spool_id}/{settlements[0][0]}-{settlements[-1][0]}")
        if returned:
            await accounts.close_leases(session, returned)
        return [each for _, each in settlements]

    async def _insert_usage(self, session: AsyncSession, settlements: list[tuple[int, Settlement]]) -> None:
        """Insert usage records, numbered in the order of their commits, with their price versions and audit events."""
        counts = Counter(TenantId(each.intent.tenant_id) for _, each in settlements)
        following = await accounts.number_usage(session, counts)
        usage: list[Numbered] = []
        for seq, each in settlements:
            tenant_id = TenantId(each.intent.tenant_id)
            usage.append(Numbered(seq, following[tenant_id], each))
            following[tenant_id] += 1
        await prices.register(session, {price_of(each) for _, each in settlements})
        await insert_usage(session, self._replica_id, usage, now())
        await audit.append_all(session, [event_of(each) for _, each in settlements])

    def _narrow_down(self, rows: list[_Row], error: Exception) -> None:
        """After a failure, limit the next batch to the records before the damaged one, or else to one record.

        So a record that cannot be recorded blocks as few others as possible. It is never skipped; an operator decides.
        """
        if isinstance(error, RecordDamaged) and (ahead := sum(row[0] < error.seq for row in rows)):
            self._batch_max = ahead
            return
        self._batch_max = 1
        if len(rows) == 1:
            seq, kind, _ = rows[0]
            _log.error(
                "a record cannot be recorded",
                seq=seq,
                kind=kind,
                error=type(error).__name__,
                commands=spool_file.COMMANDS,
            )

    def _trim(self, seq: int) -> None:
        """Delete the recorded records; while the replica writes, leave them to the next run."""
        connection = self._spool().connection
        try:
            connection.execute("DELETE FROM record WHERE seq <= ?", (seq,))
        except sqlite3.OperationalError as error:
            if is_full(error):
                trim_in_parts(connection, seq)
        except sqlite3.DatabaseError:
            # The file is damaged; close it, so that the next run reports it and an operator can repair it.
            self.close()


def _opened(directory: Path) -> _Open:
    connection = spool_file.connect(directory)
    try:
        lock = spool_file.lock_reading(directory)
    except BaseException:
        connection.close()
        raise
    return _Open(connection, lock, spool_file.spool_id(connection), spool_file.identity(directory))


def _decoded(row: _Row) -> Settlement | LeaseReturn:
    seq, kind, body = row
    try:
        if kind == RecordKind.SETTLEMENT:
            return decode_settlement(body)
        if kind == RecordKind.LEASE_RETURN:
            return decode_lease_return(body)
    except (ValueError, LookupError, TypeError) as error:
        raise RecordDamaged(seq, str(error)) from error
    raise RecordDamaged(seq, f"its kind {kind!r} is not known")


def _stamp(directory: Path) -> object:
    """Return a value that changes with each change of the spool's file."""
    try:
        found = (directory / spool_file.FILE_NAME).stat()
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _count(settlement: Settlement) -> None:
    labels = {telemetry.TENANT: settlement.intent.tenant_id, telemetry.REQUEST_MODEL: settlement.intent.model_id}
    telemetry.requests_total.add(1, {**labels, telemetry.OUTCOME: settlement.outcome.value})
    telemetry.tokens_total.add(settlement.input_tokens, {**labels, "direction": "input"})
    telemetry.tokens_total.add(settlement.output_tokens, {**labels, "direction": "output"})
