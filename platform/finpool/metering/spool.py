"""This replica's durable local record. Nothing is served that is not in it; a settlement in it is never lost.

One thread writes; whatever waits when it comes round goes into one commit (group commit), so many requests share
one fsync.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from finpool.kernel.clock import now
from finpool.kernel.logs import logger
from finpool.metering import spool_file
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.record_schemas import (
    Intent,
    LeaseReturn,
    Outcome,
    RecordKind,
    Settlement,
    decode_intent,
    encode,
)

_log = logger("metering.spool")
_GROUP_MAX = 512
_Write = Callable[[sqlite3.Connection], None]
_Waiting = tuple[_Write, "asyncio.Future[None] | None"]
_INSERT_RECORD = "INSERT INTO record (kind, body) VALUES (?, ?)"


class Spool:
    """Intents, marks and settlements of one inference replica."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._connection = spool_file.connect(directory)
        self._lock = spool_file.lock(directory)
        self.spool_id = spool_file.spool_id(self._connection)
        self.last_seq = spool_file.last_seq(self._connection)
        self._full = False
        self._closed = False
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._recover()
        self._thread = threading.Thread(target=self._write_until_closed, name="spool-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then stop; whatever comes later is refused."""
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()
        self._lock.close()

    async def intend(self, intent: Intent) -> None:
        """Put a request on record before it is dispatched; raises `SpoolUnavailable` if that is not possible."""
        if self._full:
            raise SpoolUnavailable("This replica's spool is full; it takes no new requests until it is recorded.")
        body = encode(intent)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO intent (request_id, body) VALUES (?, ?)", (intent.request_id, body))

        await self._write(write)

    def mark(self, request_id: str, input_tokens: int, cached_input_tokens: int, output_tokens: int) -> None:
        """Note what a request has used so far, soon; a crash settles at the last mark."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE intent SET input_tokens = ?, cached_input_tokens = ?, output_tokens = ? WHERE request_id = ?",
                (input_tokens, cached_input_tokens, output_tokens, request_id),
            )

        self._waiting.put((write, None))

    async def settle(self, settlement: Settlement) -> None:
        """Replace the intent by its settlement; durable when this returns."""
        body = encode(settlement)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM intent WHERE request_id = ?", (settlement.intent.request_id,))
            connection.execute(_INSERT_RECORD, (RecordKind.SETTLEMENT, body))

        await self._write(write)

    async def discard(self, request_id: str) -> None:
        """Forget the intent of a request that was never dispatched."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM intent WHERE request_id = ?", (request_id,))

        await self._write(write)

    async def return_lease(self, tenant_id: str, lease_id: str) -> None:
        """Put the return of a lease behind every settlement that is already here."""
        body = encode(LeaseReturn(tenant_id, lease_id))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT_RECORD, (RecordKind.LEASE_RETURN, body))

        await self._write(write)

    async def _write(self, write: _Write) -> None:
        if self._closed:
            raise SpoolUnavailable("This replica is stopping and takes nothing more on record.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((write, done))
        await done

    def _write_until_closed(self) -> None:
        closing = False
        while not closing:
            first = self._waiting.get()
            group = [first]
            while len(group) < _GROUP_MAX and not self._waiting.empty():
                group.append(self._waiting.get())
            closing = None in group
            self._commit([item for item in group if item is not None])

    def _commit(self, group: list[_Waiting]) -> None:
        """Write a group and tell those who wait; raises nothing, because nobody could write after this thread."""
        error: Exception | None = None
        try:
            self._write_group([write for write, _ in group])
        except sqlite3.OperationalError as failure:  # The file: each of the group would fail alike.
            error = failure
        except Exception as failure:  # One of the group: the others shall not fail with it.
            if len(group) > 1:
                for each in group:
                    self._commit([each])
                return
            error = failure
        # Answered before it is logged: the log may be on the disk that is full.
        self._answer([done for _, done in group if done is not None], failed=error is not None)
        if error is not None:
            with contextlib.suppress(Exception):
                _log.error("the spool could not be written", error=str(error))

    def _write_group(self, writes: list[_Write]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write(self._connection)
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        # Apart from the commit: what is on disk must not be reported as failed, or it would be written twice.
        try:
            self._full = self._bytes_used() >= self._bytes_max
        except sqlite3.Error:
            self._full = True

    def _answer(self, futures: "list[asyncio.Future[None]]", *, failed: bool) -> None:
        if not futures:
            return
        error = SpoolUnavailable("This replica cannot write its spool; nothing is served that is not on record.")
        with contextlib.suppress(RuntimeError):  # The loop is closed, and nobody waits any more.
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, error if failed else None)

    def _bytes_used(self) -> int:
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _recover(self) -> None:
        """Settle what an earlier run left open at its last mark, flagged as estimated: it crashed in between."""
        query = "SELECT body, input_tokens, cached_input_tokens, output_tokens FROM intent ORDER BY request_id"
        self._connection.execute("BEGIN IMMEDIATE")
        left_open = self._connection.execute(query).fetchall()
        for body, input_tokens, cached_input_tokens, output_tokens in left_open:
            settlement = Settlement(
                intent=decode_intent(body),
                outcome=Outcome.CRASHED,
                input_tokens=input_tokens,
                cached_input_tokens=cached_input_tokens,
                output_tokens=output_tokens,
                estimated=True,
                settled_at=now().isoformat(),
            )
            self._connection.execute(_INSERT_RECORD, (RecordKind.SETTLEMENT, encode(settlement)))
        self._connection.execute("DELETE FROM intent")
        self._connection.execute("COMMIT")
        if left_open:
            _log.warning("requests of an earlier run were settled at their last mark", requests=len(left_open))


def _resolve(futures: "list[asyncio.Future[None]]", error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
