"""The one thread that writes a spool: group commit, and what becomes of those who wait when the file fails."""

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

_log = logger("metering.spool")
_GROUP_MAX = 512
_DAMAGED = "This replica's spool is damaged; it takes no new requests until an operator has repaired it."
_REPLACED = "This replica's spool was taken away from it; it takes no new requests until it is started again."
_FULL = "This replica's spool is full; it takes no new requests until it is recorded."

_ROWS_MAX = 100
"""Rows of one statement: SQLite of every age takes so many parameters."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a request writes. All of a group's rows go in by a few statements, however many requests it is of.

    `intents` are ids and bodies, `forgotten` are ids of intents that are over, `records` are kinds and bodies.
    """

    intents: tuple[tuple[str, bytes], ...] = ()
    forgotten: tuple[tuple[str], ...] = ()
    records: tuple[tuple[str, bytes], ...] = ()


Write = Callable[[sqlite3.Connection], None]
_Waiting = tuple[Write | Rows, "asyncio.Future[None] | None"]


class SpoolReplaced(Exception):
    """The file that is open is not the spool any more: what is written to it would be lost with this process."""


class SpoolWriter:
    """Whatever waits when the thread comes round goes into one commit, so many requests share one fsync."""

    def __init__(self, connection: sqlite3.Connection, directory: Path, bytes_max: int) -> None:
        self._connection = connection
        self._directory = directory
        self._bytes_max = bytes_max
        self._identity = spool_file.identity(directory)
        self._page_bytes = self._pragma("page_size")
        self._full = False
        self._failing = False
        self._lost: str | None = None
        self._closed = False
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_until_closed, name="spool-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then stop; whatever comes later is refused."""
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def suspect(self) -> bool:
        """Tell whether new work should ask `require_open` first."""
        return self._full or self._lost is not None

    async def require_open(self) -> None:
        """Raise `SpoolUnavailable` if no new work may be taken; a spool that failed or was full is tried again."""
        if self._lost is not None:
            raise SpoolUnavailable(self._lost)
        if self._full or self._failing:
            await self.write(_touch if self._failing else _nothing)
        if self._full:
            raise SpoolUnavailable(_FULL)

    async def write(self, write: Write | Rows) -> None:
        """Write within a commit; durable when this returns. Raises `SpoolUnavailable` if it is not."""
        if self._closed:
            raise SpoolUnavailable("This replica is stopping and takes nothing more on record.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((write, done))
        await done

    def write_soon(self, write: Write) -> None:
        """Run `write` within the next commit, and wait for nothing."""
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
        """Write a group and tell those who wait; raises nothing, because nobody could write after this thread."""
        error: Exception | None = None
        try:
            self._write_group([write for write, _ in group])
        except (sqlite3.OperationalError, SpoolReplaced) as failure:  # The file: each of the group would fail alike.
            error = failure
        except Exception as failure:  # One of the group: the others shall not fail with it.
            if len(group) > 1 and not spool_file.is_damage(failure):
                for each in group:
                    self._commit([each])
                return
            error = failure
        if error is not None:
            self._note(error)
        # Answered before it is logged: the log may be on the disk that is full.
        self._answer([done for _, done in group if done is not None], failed=error is not None)
        if error is not None:
            with contextlib.suppress(Exception):
                _log.error("the spool could not be written", error=str(error), commands=spool_file.COMMANDS)

    def _write_group(self, writes: list[Write | Rows]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            _write_all(self._connection, writes)
            if spool_file.identity(self._directory) != self._identity:
                raise SpoolReplaced(
                    f"the spool in {self._directory} was deleted or replaced; while this process lives, what it held"
                    " can be copied from its open files, then start it again"
                )
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        # Apart from the commit: what is on disk must not be reported as failed, or it would be written twice.
        try:
            self._full, self._failing = self._bytes_used() >= self._bytes_max, False
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
        with contextlib.suppress(RuntimeError):  # The loop is closed, and nobody waits any more.
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, error if failed else None)

    def _bytes_used(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_bytes

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def _write_all(connection: sqlite3.Connection, writes: list[Write | Rows]) -> None:
    """Write intents, then marks and whatever else, then what is over and its records in the order they came.

    Each statement lets go of Python's lock and has to get it back from a busy event loop, so there are few of them.
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
    """Only come round: how full the spool is, is looked up behind each commit."""


def _touch(connection: sqlite3.Connection) -> None:
    """Change what nobody reads: only a write tells whether the disk takes one, and one without a change is none."""
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
