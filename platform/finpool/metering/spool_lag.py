"""How far the recorder is behind a spool, read without touching it."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from finpool.kernel.clock import now
from finpool.metering.errors import SpoolCorrupt
from finpool.metering.record_schemas import RecordKind
from finpool.metering.spool_file import FILE_NAME


@dataclass(frozen=True, slots=True)
class SpoolLag:
    """Records that wait in a spool; `oldest_age_seconds` is the oldest settlement's age, None if none waits."""

    records: int
    oldest_age_seconds: float | None


def read_lag(directory: Path) -> SpoolLag | None:
    """Return the lag of the spool under `directory`, None if there is no spool; raise `SpoolCorrupt` if unreadable."""
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)
        try:
            records = int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
            query = "SELECT body FROM record WHERE kind = ? ORDER BY seq LIMIT 1"
            oldest = connection.execute(query, (RecordKind.SETTLEMENT,)).fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise SpoolCorrupt(f"the spool {path} cannot be read: {error}") from error
    if oldest is None:
        return SpoolLag(records, None)
    settled_at = datetime.fromisoformat(orjson.loads(oldest[0])["settled_at"])
    return SpoolLag(records, max(0.0, (now() - settled_at).total_seconds()))
