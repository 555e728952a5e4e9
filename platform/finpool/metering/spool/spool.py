"""The spool: this replica's durable local record. Every served request is in it, and no settlement is lost."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from finpool.kernel.clock import now
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.logs import logger
from finpool.metering.errors import SpoolCorrupt, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.reserve import SpoolReserve
from finpool.metering.spool.schemas import (
    Intent,
    LeaseReturn,
    Outcome,
    RecordKind,
    Settlement,
    decode_intent,
    encode,
)
from finpool.metering.spool.writer import Rows, SpoolWriter, Write

_log = logger("metering.spool")
NOTHING_RECORDED: Mapping[str, int] = MappingProxyType({})
_INSERT_RECORD = "INSERT INTO record (kind, body) VALUES (?, ?)"


class Spool:
    """Intents, marks and settlements of one inference replica."""

    def __init__(self, directory: Path, bytes_max: int, *, recorded: Mapping[str, int] = NOTHING_RECORDED) -> None:
        """Open the spool and settle the open requests of an earlier run; `recorded` maps spools to their positions.

        Raises `SpoolUnusable` or `SpoolCorrupt` for an unusable file, `SpoolLocked` if another process serves with it,
        and `ConfigurationError` for an old copy, which stays unchanged.
        """
        reserve = _reserve(directory, bytes_max)
        self._connection = spool_file.connect(directory)
        lock: IO[bytes] | None = None
        try:
            lock = spool_file.lock(directory)
            self._connection.execute(f"PRAGMA wal_autocheckpoint={reserve.log_pages_max}")
            with spool_file.translated(directory / spool_file.FILE_NAME):
                self.spool_id = spool_file.spool_id(self._connection)
                self._require_current(recorded.get(self.spool_id, 0))
                self._recover()
        except BaseException:
            self._connection.close()
            if lock is not None:
                lock.close()
            raise
        self._lock = lock
        self._writer = SpoolWriter(self._connection, directory, bytes_max, reserve)

    async def close(self) -> None:
        """Write the waiting rows, then stop; later writes raise `SpoolUnavailable`."""
        await self._writer.close()
        self._connection.close()
        self._lock.close()

    async def require_open(self) -> None:
        """Raise `SpoolUnavailable` if no new request may be accepted: the spool is full, damaged or not writable."""
        await self._writer.require_open()

    async def intend(self, intent: Intent) -> None:
        """Record a request before its dispatch; raise `SpoolUnavailable` if that fails."""
        if self._writer.suspect:
            await self._writer.require_open()
        await self._writer.write(Rows(intents=((intent.request_id, encode(intent)),)))

    def mark(self, request_id: str, input_tokens: int, cached_input_tokens: int, output_tokens: int) -> None:
        """Note the usage of a request with the next commit; a crash settles at the last mark."""
        self._writer.write_soon(_marked(request_id, input_tokens, cached_input_tokens, output_tokens))

    async def mark_durably(
        self, request_id: str, input_tokens: int, cached_input_tokens: int, output_tokens: int
    ) -> None:
        """Do the same, durable when this returns; raise `SpoolUnavailable` if that fails."""
        await self._writer.write(_marked(request_id, input_tokens, cached_input_tokens, output_tokens))

    async def settle(self, settlement: Settlement) -> None:
        """Replace the intent by its settlement; durable when this returns."""
        record = (RecordKind.SETTLEMENT, encode(settlement))
        await self._writer.write(Rows(forgotten=((settlement.intent.request_id,),), records=(record,)))

    async def discard(self, request_id: str) -> None:
        """Delete the intent of a request that was never dispatched."""
        await self._writer.write(Rows(forgotten=((request_id,),)))

    async def return_lease(self, tenant_id: str, lease_id: str) -> None:
        """Record the return of a lease after every settlement that is already here."""
        body = encode(LeaseReturn(tenant_id, lease_id))
        await self._writer.write(Rows(records=((RecordKind.LEASE_RETURN, body),)))

    def _require_current(self, recorded: int) -> None:
        """Raise `ConfigurationError` for an old copy of the spool, before anything is settled in it.

        Its next records would get numbers that already count as recorded, and would be lost.
        """
        held = spool_file.last_seq(self._connection)
        if recorded > held:
            raise ConfigurationError(
                f"the spool is older than its records in the database ({held} < {recorded}):"
                " an old copy was put back; move it away and start with a new one"
            )

    def _recover(self) -> None:
        """Settle the open requests of a crashed run at their last marks, flagged as estimated."""
        query = "SELECT request_id, body, input_tokens, cached_input_tokens, output_tokens FROM intent"
        left_open = self._connection.execute(f"{query} ORDER BY request_id").fetchall()
        if not left_open:
            return
        settlements = [_settled_at_mark(*row) for row in left_open]
        self._connection.execute("BEGIN IMMEDIATE")
        rows = [(RecordKind.SETTLEMENT, encode(each)) for each in settlements]
        self._connection.executemany(_INSERT_RECORD, rows)
        self._connection.execute("DELETE FROM intent")
        self._connection.execute("COMMIT")
        _log.warning("requests of an earlier run were settled at their last mark", requests=len(settlements))


def _reserve(directory: Path, bytes_max: int) -> SpoolReserve:
    try:
        return SpoolReserve(directory, bytes_max)
    except OSError as error:
        raise SpoolUnusable(f"the spool in {directory} cannot be opened: {error.strerror}") from error


def _marked(request_id: str, input_tokens: int, cached_input_tokens: int, output_tokens: int) -> Write:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE intent SET input_tokens = ?, cached_input_tokens = ?, output_tokens = ? WHERE request_id = ?",
            (input_tokens, cached_input_tokens, output_tokens, request_id),
        )

    return write


def _settled_at_mark(
    request_id: str, body: bytes, input_tokens: int, cached_input_tokens: int, output_tokens: int
) -> Settlement:
    try:
        intent = decode_intent(body)
    except (ValueError, LookupError, TypeError) as error:
        raise SpoolCorrupt(f"the intent of {request_id} cannot be decoded: see {spool_file.COMMANDS}") from error
    return Settlement(
        intent=intent,
        outcome=Outcome.CRASHED,
        input_tokens=input_tokens,
        cached_input_tokens=cached_input_tokens,
        output_tokens=output_tokens,
        estimated=True,
        settled_at=now().isoformat(),
    )
