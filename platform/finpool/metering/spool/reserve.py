"""The spool's reserve: space on its volume that is given back when the volume is full.

A full volume could stay full for good. SQLite moves its log (WAL) into the file before it can empty the log, and the
file may have to grow for that. Deleting recorded rows needs room in the log as well. With the reserve's room the log is
moved and emptied, open requests are settled, and recorded rows are deleted. New requests wait until it is there again.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

NAME = "spool.reserve"
BYTES_MAX = 8_388_608
TRIMMED_ROWS = 100
_TRIM = "DELETE FROM record WHERE seq IN (SELECT seq FROM record WHERE seq <= ? ORDER BY seq LIMIT ?)"

PAGE_BYTES = 4_096
SQLITE_LOG_PAGES = 1_000
"""SQLite's own default of `wal_autocheckpoint`."""

PART_OF_SPOOL = 32
"""The reserve is this part of the spool's largest size, and `BYTES_MAX` at most."""


class SpoolReserve:
    """The reserve of one spool: made before the spool's file is opened, and then used by its writer only."""

    def __init__(self, directory: Path, spool_bytes_max: int) -> None:
        self._path = directory / NAME
        self._bytes = min(BYTES_MAX, spool_bytes_max // PART_OF_SPOOL)
        self.given_back = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            self.given_back = not self._take()
        elif shutil.disk_usage(directory).free < self._bytes // 4:
            # To open the file and to settle an earlier run's requests needs room, too.
            self._path.unlink()
            self.given_back = True

    @property
    def log_pages_max(self) -> int:
        """The pages of its log after which SQLite moves it into the file: at most half of the reserve."""
        return max(1, min(SQLITE_LOG_PAGES, self._bytes // 2 // PAGE_BYTES))

    def make_room(self, connection: sqlite3.Connection) -> bool:
        """Give the reserve back and empty the log; return False if it was given back before."""
        if self.given_back:
            return False
        self._path.unlink(missing_ok=True)
        self.given_back = True
        _empty_log(connection)
        return True

    def restore(self, connection: sqlite3.Connection, bytes_used: int) -> None:
        """Take the reserve again if the volume has room for it twice.

        A file whose rows are recorded keeps its size, and so its room. It is made smaller once its rows fit into a
        quarter of the reserve, because SQLite copies them for that.
        """
        if not self.given_back:
            return
        _empty_log(connection)
        if self._take() or bytes_used > self._bytes // 4:
            return
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
            _empty_log(connection)
            self._take()

    def _take(self) -> bool:
        """Take the reserve; leave the volume as it is if less than the reserve would be left beside it."""
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * self._bytes:
                return False
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        self.given_back = False
        return True


def is_full(error: Exception) -> bool:
    """Tell whether SQLite reports that a write found no room."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_FULL or code & 0xFF == sqlite3.SQLITE_IOERR


def trim_in_parts(connection: sqlite3.Connection, seq: int) -> None:
    """Delete the records up to `seq` a few at a time, emptying the log between them; stop when no room is left.

    One statement for all of them needs as much room in the log as they take in the file.
    """
    deleted = TRIMMED_ROWS
    with contextlib.suppress(sqlite3.OperationalError):
        while deleted == TRIMMED_ROWS:
            _empty_log(connection)
            deleted = connection.execute(_TRIM, (seq, TRIMMED_ROWS)).rowcount
    _empty_log(connection)


def _empty_log(connection: sqlite3.Connection) -> None:
    """Move the log into the file and empty it, as far as readers let it."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
