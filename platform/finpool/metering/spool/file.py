"""The spool's file: SQLite that has reached the disk when a commit returns."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finpool.kernel.ids import new_id
from finpool.metering.errors import SpoolCorrupt, SpoolLocked, SpoolUnusable

FILE_NAME = "spool.sqlite3"
REPAIRED_NAME = "spool.repaired.sqlite3"
"""A repair under way: until it is in place no spool may be made there, or its numbers would begin anew."""

ID_NAME = "spool.id"
"""The spool's id once more, for a repair of a file that has lost it."""

COMMANDS = "finpool spool check, export and repair"
"""What an operator is told when a spool is damaged."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (spool_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intent (
    request_id TEXT PRIMARY KEY, body BLOB NOT NULL,
    input_tokens INTEGER NOT NULL DEFAULT 0, cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body BLOB NOT NULL);
"""
_DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def connect(directory: Path) -> sqlite3.Connection:
    """Open the spool under `directory`, creating it if there is none.

    WAL with `synchronous=FULL`: a commit has been fsynced when it returns. Raises `SpoolCorrupt` for a file that is
    damaged or not a spool, `SpoolUnusable` if it cannot be opened; the file is left as it is.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Inference and worker start together, and SQLite lets nobody wait while another changes the journal's mode.
        with (directory / "spool.opening").open("ab") as opening:
            fcntl.flock(opening, fcntl.LOCK_EX)
            verify(directory)
            return _open(directory)
    except OSError as error:
        raise SpoolUnusable(f"the spool in {directory} cannot be opened: {error.strerror}") from error


def verify(directory: Path) -> None:
    """Raise `SpoolCorrupt` or `SpoolUnusable` if the spool is damaged; nothing is written, and no spool is fine.

    A connection that may write would, when it closes, carry its log over into the damaged file.
    """
    if (directory / REPAIRED_NAME).exists():
        raise SpoolCorrupt(f"the repair of the spool in {directory} was broken off: run `finpool spool repair` again")
    path, log = directory / FILE_NAME, directory / f"{FILE_NAME}-wal"
    if not path.exists() and log.exists() and log.stat().st_size > 0:
        # A new file would be begun with the log of another, and what only the log holds would be gone.
        raise SpoolCorrupt(
            f"the spool {path} is gone and its log is left: put it back, or move {log.name} away as well"
        )
    if not path.exists() or path.stat().st_size == 0:
        return
    with translated(path), contextlib.closing(connect_to_read(path)) as connection:
        finding = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if finding == "ok":
            finding = _missing_tables(connection)
    if finding:
        raise SpoolCorrupt(f"the spool {path} is damaged ({' '.join(finding.split())}): see {COMMANDS}")


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a spool's file without the right to change it; raises sqlite3.Error."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about a file into ours."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise SpoolCorrupt(f"the spool {path} cannot be read ({error}): see {COMMANDS}") from error
        raise SpoolUnusable(f"the spool {path} cannot be used ({error})") from error


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite says that the file itself is damaged, rather than out of reach or full."""
    return isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED_CODES


def _missing_tables(connection: sqlite3.Connection) -> str:
    """Name what a spool has and this file has not; a file without any table is a spool that was not begun yet."""
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = {"meta", "intent", "record"} - found
    return f"it has no table {', '.join(sorted(missing))}" if found and missing else ""


def _open(directory: Path) -> sqlite3.Connection:
    path = directory / FILE_NAME
    with translated(path):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            prepare(connection)
            _keep_id(directory, spool_id(connection))
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: sqlite3.Connection, known_id: str | None = None) -> None:
    """Make a file a spool, with an id of its own or a known one; a spool stays as it is."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(SCHEMA)
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT spool_id FROM meta").fetchone() is None:
        connection.execute("INSERT INTO meta VALUES (?)", (known_id or new_id("spool"),))
    connection.execute("COMMIT")


def spool_id(connection: sqlite3.Connection) -> str:
    """Return the id the spool was given when it was made; a new file is a new spool."""
    return str(connection.execute("SELECT spool_id FROM meta").fetchone()[0])


def last_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number this spool ever gave to a record."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    return int(row[0]) if row is not None else 0


def identity(directory: Path) -> tuple[int, int] | None:
    """Tell which file is the spool now, by device and inode; None if there is none."""
    try:
        found = (directory / FILE_NAME).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _keep_id(directory: Path, known_id: str) -> None:
    path = directory / ID_NAME
    if path.exists() and path.read_text(encoding="utf-8").strip() == known_id:
        return
    with path.open("w", encoding="utf-8") as file:
        file.write(known_id + "\n")
        file.flush()
        os.fsync(file.fileno())


def lock(directory: Path) -> IO[bytes]:
    """Hold the spool for this process until the returned file closes; raises `SpoolLocked` if another holds it."""
    return _flock(directory / "spool.lock", fcntl.LOCK_EX, f"another process serves with the spool in {directory}")


def lock_reading(directory: Path, *, alone: bool = False) -> IO[bytes]:
    """Take part in reading the spool until the returned file closes; `alone` keeps every other reader out.

    Raises `SpoolLocked` while somebody reads and nobody else may, or the other way round.
    """
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    message = f"a worker records the spool in {directory}" if alone else f"the spool in {directory} is being repaired"
    return _flock(directory / "spool.reading", how, message)


def _flock(path: Path, how: int, message: str) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    file = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SpoolLocked(message) from None
    return file
