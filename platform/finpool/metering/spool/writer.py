"""The one thread that writes a spool, with group commit, and the errors for its callers if the file fails."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from finpool.kernel.logs import logger
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.reserve import SpoolReserve, is_full

_log = logger("metering.spool")
_GROUP_MAX = 512
_DAMAGED = "This replica's spool is damaged; it takes no new requests until an operator has repaired it."
_REPLACED = "This replica's spool was taken away from it; it takes no new requests until it is started again."
_FULL = "This replica's spool is full; it takes no new requests until it is recorded."

_MEASURED_AT_LEAST_EVERY = 64
"""The space in use is measured each time that this part of the bound has been written since."""

_ROWS_MAX = 100
"""Rows of one statement; even old SQLite versions accept this many parameters."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one request. A few statements insert the rows of a whole group.

    `intents` are ids and bodies, `forgotten` are ids of ended intents, `records` are kinds and bodies.
    """

    intents: tuple[tuple[str, bytes], ...] = ()
    forgotten: tuple[tuple[str], ...] = ()
    records: tuple[tuple[str, bytes], ...] = ()


Write = Callable[[sqlite3.Connection], None]
_Waiting = tuple[Write | Rows, "asyncio.Future[None] | None"]


class SpoolReplaced(Exception):
    """The open file is no longer the spool; rows written to it would be lost with this process."""


class SpoolWriter:
    """The writer thread: it puts all waiting rows into one commit, so that many requests share one fsync."""

    def __init__(self, connection: sqlite3.Connection, directory: Path, bytes_max: int, reserve: SpoolReserve) -> None:
        self._connection = connection
        self._directory = directory
        self._bytes_max = bytes_max
        self._identity = spool_file.identity(directory)
        self._reserve = reserve
        self._full = reserve.given_back
        self._unmeasured_bytes = bytes_max
        self._failing = False
        self._lost: str | None = None
        self._closed = False
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_until_closed, name="spool-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write the waiting rows, then stop; later writes raise `SpoolUnavailable`."""
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def suspect(self) -> bool:
        """Whether a new request should call `require_open` first."""
        return self._full or self._lost is not None

    async def require_open(self) -> None:
        """Raise `SpoolUnavailable` if no new request may be accepted; try a failed or full spool again first."""
        if self._lost is not None:
            raise SpoolUnavailable(self._lost)
        if self._full or self._failing:
            await self.write(_touch if self._failing else _nothing)
        if self._full:
            raise SpoolUnavailable(_FULL)

    async def write(self, write: Write | Rows) -> None:
        """Write within a commit; durable when this returns. Raises `SpoolUnavailable` on a failure."""
        if self._closed:
            raise SpoolUnavailable("This replica is stopping and takes nothing more on record.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((write, done))
        await done

    def write_soon(self, write: Write) -> None:
        """Run `write` within the next commit, without waiting for it."""
        self._waiting.put((write, None))

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
        """Write a group and answer its callers; raise nothing, because the thread must survive."""
        error: Exception | None = None
        try:
            self._write_group_with_room([write for write, _ in group])
        except (sqlite3.OperationalError, SpoolReplaced) as failure:  # The file failed: each write would fail alike.
            error = failure
        except Exception as failure:  # One write of the group failed; the others get commits of their own.
            if len(group) > 1 and not spool_file.is_damage(failure):
                for each in group:
                    self._commit([each])
                return
            error = failure
        if error is not None:
            self._note(error)
        # Answer before logging, because the log may be on the same full disk.
        self._answer([done for _, done in group if done is not None], failed=error is not None)
        if error is not None:
            with contextlib.suppress(Exception):
                _log.error("the spool could not be written", error=str(error), commands=spool_file.COMMANDS)

    def _write_group_with_room(self, writes: list[Write | Rows]) -> None:
        """Write a group; on a full volume give the reserve back and write it once more."""
        try:
            self._write_group(writes)
        except sqlite3.OperationalError as error:
            if not (is_full(error) and self._reserve.make_room(self._connection)):
                raise
            _log.warning("the spool's volume is full: new requests wait until there is room for its reserve again")
            self._write_group(writes)

    def _write_group(self, writes: list[Write | Rows]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._unmeasured_bytes += _write_all(self._connection, writes)
            if spool_file.identity(self._directory) != self._identity:
                raise SpoolReplaced(
                    f"the spool in {self._directory} was deleted or replaced; copy its data from the open files of"
                    " this process while it lives, then restart it"
                )
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._failing = False
        grown = self._unmeasured_bytes * _MEASURED_AT_LEAST_EVERY >= self._bytes_max
        if grown or self._full or self._reserve.given_back:
            self._measure()

    def _measure(self) -> None:
        # Separate from the commit: a durable write must not be reported as failed, or it would be written twice.
        try:
            used = spool_file.bytes_used(self._connection)
            self._reserve.restore(self._connection, used)
            self._full = used >= self._bytes_max or self._reserve.given_back
            self._unmeasured_bytes = 0
        except sqlite3.Error:
            self._full = True

    def _note(self, error: Exception) -> None:
        if isinstance(error, SpoolReplaced):
            self._lost = _REPLACED
        elif spool_file.is_damage(error):
            self._lost = _DAMAGED
        elif isinstance(error, sqlite3.OperationalError):
            self._failing = True

    def _answer(self, futures: "list[asyncio.Future[None]]", *, failed: bool) -> None:
        if not futures:
            return
        error = SpoolUnavailable(
            self._lost or "This replica cannot write its spool; nothing is served that is not on record."
        )
        with contextlib.suppress(RuntimeError):  # The event loop is closed, so no caller waits.
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, error if failed else None)


def _write_all(connection: sqlite3.Connection, writes: list[Write | Rows]) -> int:
    """Write intents, then marks and other writes, then deletions and records in their order; return their bytes.

    Each statement releases the GIL and must regain it from a busy event loop, so there are few of them.
    """
    rows = [each for each in writes if isinstance(each, Rows)]
    _insert(connection, "INSERT INTO intent (request_id, body) VALUES ", "(?, ?)", [each.intents for each in rows])
    for write in writes:
        if not isinstance(write, Rows):
            write(connection)
    for part in _parts([each.forgotten for each in rows]):
        ids = [request_id for (request_id,) in part]
        connection.execute(f"DELETE FROM intent WHERE request_id IN ({', '.join('?' * len(ids))})", ids)  # noqa: S608
    _insert(connection, "INSERT INTO record (kind, body) VALUES ", "(?, ?)", [each.records for each in rows])
    return sum(len(body) for each in rows for _, body in chain(each.intents, each.records))


def _insert(
    connection: sqlite3.Connection, statement: str, row: str, values: Iterable[Iterable[tuple[str | bytes, ...]]]
) -> None:
    for part in _parts(values):
        connection.execute(statement + ", ".join([row] * len(part)), list(chain.from_iterable(part)))


def _parts(values: Iterable[Iterable[tuple[str | bytes, ...]]]) -> Iterator[list[tuple[str | bytes, ...]]]:
    rows = list(chain.from_iterable(values))
    for start in range(0, len(rows), _ROWS_MAX):
        yield rows[start : start + _ROWS_MAX]


def _nothing(_: sqlite3.Connection) -> None:
    """Write nothing; the space in use is measured after each commit anyway."""


def _touch(connection: sqlite3.Connection) -> None:
    """Change an unused value: only a real write shows whether the disk accepts one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(f"PRAGMA user_version = {1 - version}")


def _resolve(futures: "list[asyncio.Future[None]]", error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
