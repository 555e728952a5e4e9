"""The recorder's lag behind a spool, read without a change to the spool."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from finpool.kernel.clock import now
from finpool.metering.errors import SpoolCorrupt
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.schemas import RecordKind


@dataclass(frozen=True, slots=True)
class SpoolLag:
    """The waiting records of a spool; `oldest_age_seconds` is the oldest settlement's age, None without one."""

    records: int
    oldest_age_seconds: float | None


def read_lag(directory: Path) -> SpoolLag | None:
    """Return the lag of the spool under `directory`, or None without a spool.

    Raises `SpoolCorrupt` if it cannot be read, `SpoolUnusable` if it cannot be opened.
    """
    path = directory / spool_file.FILE_NAME
    if not path.exists():
        return None
    with spool_file.translated(path), contextlib.closing(spool_file.connect_to_read(path)) as connection:
        records = int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
        query = "SELECT seq, body FROM record WHERE kind = ? ORDER BY seq LIMIT 1"
        oldest = connection.execute(query, (RecordKind.SETTLEMENT,)).fetchone()
    if oldest is None:
        return SpoolLag(records, None)
    seq, body = oldest
    try:
        settled_at = datetime.fromisoformat(orjson.loads(body)["settled_at"])
    except (ValueError, LookupError, TypeError) as error:
        raise SpoolCorrupt(f"record {seq} of the spool {path} cannot be decoded: see {spool_file.COMMANDS}") from error
    return SpoolLag(records, max(0.0, (now() - settled_at).total_seconds()))
