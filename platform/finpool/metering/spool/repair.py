"""The repair of a damaged spool: build a new one of its readable parts, or set one record aside. Nothing is deleted."""

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from finpool.kernel.clock import now
from finpool.metering.errors import SpoolNotFound, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.salvage import Findings, Salvage

SEQ_STEP = 1_000_000_000
"""The gap in the numbers if the last one is unreadable: a number used twice would count as recorded."""

_ID_CANNOT_BE_READ = (
    "the spool's id cannot be read: give it with --spool-id; the database has it,"
    " in spool_position beside the replica's name"
)
_CREATE_ASIDE = "CREATE TABLE IF NOT EXISTS aside (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL)"
_INSERT_INTENT = "INSERT INTO intent VALUES (?, ?, ?, ?, ?)"
_INSERT_RECORD = "INSERT INTO record (seq, kind, body) VALUES (?, ?, ?)"
_INSERT_ASIDE = "INSERT INTO aside (seq, kind, body) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair: its findings, the path of the damaged file, and the last used number.

    `last_seq_known` is false if the last number was unreadable, so that the numbers continue after a gap.
    """

    found: Findings
    damaged_file: str
    spool_id: str
    last_seq: int
    last_seq_known: bool


def existing(directory: Path) -> Path:
    """Return the spool's file; raise `SpoolNotFound` without one."""
    path = directory / spool_file.FILE_NAME
    if not path.is_file():
        raise SpoolNotFound(f"there is no spool at {path}")
    return path


def set_aside(directory: Path, seq: int) -> None:
    """Move a record that blocks the records behind it into the table `aside`, while inference and worker run.

    The record stays in the file but is never recorded. Raises `SpoolNotFound` if no record has that number.
    """
    existing(directory)
    with contextlib.closing(spool_file.connect(directory)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_CREATE_ASIDE)
        connection.execute("INSERT INTO aside SELECT seq, kind, body FROM record WHERE seq = ?", (seq,))
        moved = connection.execute("DELETE FROM record WHERE seq = ?", (seq,)).rowcount
        connection.execute("COMMIT")
    if not moved:
        raise SpoolNotFound(f"the spool in {directory} has no record {seq}")


def repair(directory: Path, *, spool_id: str | None = None, last_seq: int | None = None) -> Repair | None:
    """Rebuild the spool under `directory` from every readable intent and record.

    Id and numbers continue, so that no record is recorded twice or skipped. Returns None if an earlier repair was
    interrupted between its two moves and is finished now. Raises `SpoolLocked` while a process uses the spool. Raises
    `SpoolUnusable` if the id is unknown, or the new file differs from the read rows.
    """
    if not directory.is_dir():
        raise SpoolNotFound(f"there is no spool at {directory / spool_file.FILE_NAME}")
    with spool_file.lock(directory), spool_file.lock_reading(directory, alone=True):
        if _finish_broken_off(directory):
            return None
        path = existing(directory)
        new = directory / spool_file.REPAIRED_NAME
        with contextlib.closing(spool_file.connect_to_read(path)) as damaged:
            salvage = Salvage(damaged)
            known_id = spool_id or salvage.findings.spool_id or _kept_id(directory)
            if known_id is None:
                raise SpoolUnusable(_ID_CANNOT_BE_READ)
            copied, seq, known = _copy(salvage, new, known_id, last_seq)
        _require_same(new, copied)
        moved = _put_in_place(directory, new)
    return Repair(salvage.findings, str(moved), known_id, seq, known)


def _copy(salvage: Salvage, new: Path, known_id: str, last_seq: int | None) -> tuple[tuple[int, int, int], int, bool]:
    """Write the new file; return its counts of each table, its last number, and whether that was known."""
    _remove(new)
    intents = aside = records = highest = 0
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        spool_file.prepare(connection, known_id)
        connection.execute("BEGIN IMMEDIATE")
        for intent in salvage.intents():
            if intent.fault is None:
                marks = (intent.input_tokens, intent.cached_input_tokens, intent.output_tokens)
                connection.execute(_INSERT_INTENT, (intent.request_id, intent.body, *marks))
                intents += 1
        for record in salvage.aside():
            connection.execute(_CREATE_ASIDE)
            connection.execute(_INSERT_ASIDE, (record.seq, record.kind, record.body))
            highest = max(highest, record.seq)
            aside += 1
        for record in salvage.records():
            highest = max(highest, record.seq)
            if record.fault is None:
                connection.execute(_INSERT_RECORD, (record.seq, record.kind, record.body))
                records += 1
        given = last_seq if last_seq is not None else salvage.findings.last_seq
        seq = max(highest, given) if given is not None else highest + SEQ_STEP
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'record'")
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('record', ?)", (seq,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (intents, aside, records), seq, given is not None


def _require_same(new: Path, copied: tuple[int, int, int]) -> None:
    """Read the new file from disk and compare its counts; raise `SpoolUnusable` on a difference."""
    with contextlib.closing(spool_file.connect_to_read(new)) as connection:
        again = Salvage(connection)
        counted = sum(1 for _ in again.intents()), sum(1 for _ in again.aside()), sum(1 for _ in again.records())
    if not again.findings.intact or counted != copied:
        raise SpoolUnusable(f"the new file {new} differs from the written rows: nothing was changed")


def _put_in_place(directory: Path, new: Path) -> Path:
    """Move the damaged file and its log aside under one name, then move the new file into place."""
    aside = directory / f"spool.damaged-{now():%Y%m%dT%H%M%S%f}.sqlite3"
    os.rename(directory / spool_file.FILE_NAME, aside)
    _move_log(directory, aside)
    _remove_log(new)
    os.rename(new, directory / spool_file.FILE_NAME)
    _sync(directory)
    return aside


def _finish_broken_off(directory: Path) -> bool:
    """Finish a repair that was interrupted between the two moves: the new file is complete then."""
    new = directory / spool_file.REPAIRED_NAME
    if (directory / spool_file.FILE_NAME).exists() or not new.exists():
        return False
    newest = max(directory.glob("spool.damaged-*.sqlite3"), default=None)
    if newest is not None:
        _move_log(directory, newest)
    _remove_log(new)
    os.rename(new, directory / spool_file.FILE_NAME)
    _sync(directory)
    return True


def _move_log(directory: Path, aside: Path) -> None:
    for suffix in ("-wal", "-shm"):
        log = directory / f"{spool_file.FILE_NAME}{suffix}"
        if log.exists():
            os.rename(log, f"{aside}{suffix}")


def _remove(new: Path) -> None:
    """Remove the rest of a repair that was interrupted early; the damaged spool is still in place."""
    new.unlink(missing_ok=True)
    _remove_log(new)


def _remove_log(new: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{new}{suffix}").unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kept_id(directory: Path) -> str | None:
    try:
        return (directory / spool_file.ID_NAME).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
