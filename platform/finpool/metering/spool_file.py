"""The spool's file: SQLite that has reached the disk when a commit returns."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from finpool.kernel.ids import new_id
from finpool.metering.errors import SpoolCorrupt, SpoolLocked

FILE_NAME = "spool.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (spool_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intent (
    request_id TEXT PRIMARY KEY, body BLOB NOT NULL,
    input_tokens INTEGER NOT NULL DEFAULT 0, cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body BLOB NOT NULL);
"""


def connect(directory: Path) -> sqlite3.Connection:
    """Open the spool under `directory`, creating it if there is none.

    WAL with `synchronous=FULL`: a commit has been fsynced when it returns. Raises `SpoolCorrupt` with what SQLite
    says of a file that is damaged or not a spool; the file is left as it is.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / FILE_NAME
    # Inference and worker start together, and SQLite lets nobody wait while another changes the journal's mode.
    with (directory / "spool.opening").open("ab") as opening:
        fcntl.flock(opening, fcntl.LOCK_EX)
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise SpoolCorrupt(f"the spool {path} cannot be used: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(_SCHEMA)
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT spool_id FROM meta").fetchone() is None:
        connection.execute("INSERT INTO meta VALUES (?)", (new_id("spool"),))
    connection.execute("COMMIT")


def spool_id(connection: sqlite3.Connection) -> str:
    """Return the id the spool was given when it was made; a new file is a new spool."""
    return str(connection.execute("SELECT spool_id FROM meta").fetchone()[0])


def last_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number this spool ever gave to a record."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    return int(row[0]) if row is not None else 0


def lock(directory: Path) -> IO[bytes]:
    """Hold the spool for this process until the returned file closes; raises `SpoolLocked` if another holds it."""
    descriptor = os.open(directory / "spool.lock", os.O_RDWR | os.O_CREAT, 0o600)
    file = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SpoolLocked(f"another inference process serves with the spool in {directory}") from None
    return file
