"""The spool's file: SQLite whose commits are on disk when they return."""

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
"""The file of a running repair. While it exists no new spool may be created, or its numbers would start anew."""

ID_NAME = "spool.id"
"""A copy of the spool's id, for the repair of a file that has lost it."""

LOG_BYTES_KEPT = 4_194_304
"""Size to which SQLite cuts its log once it has been moved into the file; it moves it at about this size."""

COMMANDS = "finpool spool check, export and repair"
"""The advice to an operator for a damaged spool."""

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
    """Open the spool under `directory`, or create it.

    WAL with `synchronous=FULL`: a commit is fsynced when it returns. Raises `SpoolCorrupt` for a file that is damaged
    or no spool, and `SpoolUnusable` if it cannot be opened; the file stays unchanged.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Inference and worker start together, and SQLite fails at once while another process changes the journal mode.
        with (directory / "spool.opening").open("ab") as lock_file:
            fcntl.flock(lock_file, fcntl.LOCK_EX)
            verify(directory)
            return _open(directory)
    except OSError as error:
        raise SpoolUnusable(f"the spool in {directory} cannot be opened: {error.strerror}") from error


def verify(directory: Path) -> None:
    """Raise `SpoolCorrupt` or `SpoolUnusable` if the spool is damaged; write nothing, and accept a missing spool.

    A read-only connection is used: a writable one would merge its log into the damaged file when it closes.
    """
    if (directory / REPAIRED_NAME).exists():
        raise SpoolCorrupt(f"the repair of the spool in {directory} was broken off: run `finpool spool repair` again")
    path, log = directory / FILE_NAME, directory / f"{FILE_NAME}-wal"
    if not path.exists() and log.exists() and log.stat().st_size > 0:
        # A new file would start with the log of the lost one, and the data in that log would be lost.
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
    """Open a spool's file read-only; raise sqlite3.Error."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite errors on a file into `SpoolCorrupt` or `SpoolUnusable`."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise SpoolCorrupt(f"the spool {path} cannot be read ({error}): see {COMMANDS}") from error
        raise SpoolUnusable(f"the spool {path} cannot be used ({error})") from error


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite reports damage of the file itself, rather than an unreachable or full one."""
    return isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED_CODES


def _missing_tables(connection: sqlite3.Connection) -> str:
    """Name the missing tables of a spool; a file without any table is a new spool."""
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
    """Create the tables and the id of a spool, a new id or a known one; an existing spool stays unchanged."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    # A log that grew while a reader kept it from being moved gets its room back.
    connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES_KEPT}")
    connection.executescript(SCHEMA)
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT spool_id FROM meta").fetchone() is None:
        connection.execute("INSERT INTO meta VALUES (?)", (known_id or new_id("spool"),))
    connection.execute("COMMIT")


def spool_id(connection: sqlite3.Connection) -> str:
    """Return the spool's id, which it got when it was created; a new file is a new spool."""
    return str(connection.execute("SELECT spool_id FROM meta").fetchone()[0])


def last_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number that this spool ever gave to a record."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    return int(row[0]) if row is not None else 0


def bytes_used(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold data; deleted rows leave pages that are free."""
    names = ("page_size", "page_count", "freelist_count")
    page_bytes, pages, free_pages = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return (pages - free_pages) * page_bytes


def identity(directory: Path) -> tuple[int, int] | None:
    """Return device and inode of the spool's file, or None without a file."""
    try:
        found = os.stat(f"{directory}/{FILE_NAME}")
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
    """Lock the spool for this process until the returned file closes; raise `SpoolLocked` if another holds it."""
    return _flock(directory / "spool.lock", fcntl.LOCK_EX, f"another process serves with the spool in {directory}")


def lock_reading(directory: Path, *, alone: bool = False) -> IO[bytes]:
    """Lock the spool for reading until the returned file closes; `alone` excludes every other reader.

    Raises `SpoolLocked` while another process holds a conflicting lock.
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
