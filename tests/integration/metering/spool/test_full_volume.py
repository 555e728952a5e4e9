"""A volume that the spool has filled loses nothing, and takes requests again once its records are recorded."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_intent import INTENT

from finpool.metering.errors import SpoolUnavailable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.reserve import NAME, trim_in_parts
from finpool.metering.spool.schemas import Outcome, Settlement, decode_settlement
from finpool.metering.spool.spool import Spool

VOLUME_BYTES = 3_145_728
SPOOL_BYTES_MAX = 8_388_608
"""Larger than the volume, as an operator may set it; the reserve is a thirty-second part."""

REQUESTS_MAX = 20_000


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """Mount a small volume."""
    directory = tmp_path / "spool"
    directory.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES},mode=700", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("only root may mount a small volume, and not in every container")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def recorder(volume: Path) -> Iterator[sqlite3.Connection]:
    """Return another process's connection to the spool, as the recorder has one."""
    with contextlib.closing(spool_file.connect(volume)) as connection:
        yield connection


async def serve(spool: Spool, request_id: str) -> None:
    """Take one request on record and settle it."""
    intent = replace(INTENT, request_id=request_id)
    await spool.intend(intent)
    await spool.settle(Settlement(intent, Outcome.COMPLETED, 1, 0, 1, False, intent.started_at))


async def fill(spool: Spool, name: str) -> list[str]:
    """Serve requests until the spool takes no more; return the settled ones."""
    settled: list[str] = []
    for number in range(REQUESTS_MAX):
        try:
            await serve(spool, f"{name}-{number}")
        except SpoolUnavailable:
            return settled
        settled.append(f"{name}-{number}")
    pytest.fail("the volume did not become full")


def record_all(recorder: sqlite3.Connection) -> list[str]:
    """Read and delete every record, as the recorder does; return the ids of the requests."""
    rows = recorder.execute("SELECT seq, body FROM record WHERE kind = 'settlement' ORDER BY seq").fetchall()
    trim_in_parts(recorder, rows[-1][0])
    assert recorder.execute("SELECT count(*) FROM record").fetchone() == (0,)
    return [decode_settlement(body).intent.request_id for _, body in rows]


async def test_a_volume_filled_by_the_spool_takes_requests_again_once_they_are_recorded(
    volume: Path, recorder: sqlite3.Connection
) -> None:
    spool = Spool(volume, SPOOL_BYTES_MAX)
    for name in ("first", "second"):
        settled = await fill(spool, name)
        assert len(settled) > 100
        with pytest.raises(SpoolUnavailable):
            await spool.require_open()
        assert record_all(recorder) == settled
        await spool.require_open()
        assert (volume / NAME).exists()
    await spool.close()


async def test_a_volume_that_somebody_else_fills_takes_requests_again_once_it_has_room(
    volume: Path, recorder: sqlite3.Connection
) -> None:
    spool = Spool(volume, SPOOL_BYTES_MAX)
    with (volume / "other").open("wb") as other:
        os.posix_fallocate(other.fileno(), 0, os.statvfs(volume).f_bavail * os.statvfs(volume).f_bsize)
    settled = await fill(spool, "beside")
    assert settled
    (volume / "other").unlink()
    await serve(spool, "after")
    assert record_all(recorder) == [*settled, "after"]
    await spool.close()


async def test_a_spool_on_a_full_volume_opens_and_settles_what_a_crash_left_open(volume: Path) -> None:
    spool = Spool(volume, SPOOL_BYTES_MAX)
    await spool.intend(INTENT)
    with (volume / "other").open("wb") as other:
        os.posix_fallocate(other.fileno(), 0, os.statvfs(volume).f_bavail * os.statvfs(volume).f_bsize)
    await spool.close()
    opened = Spool(volume, SPOOL_BYTES_MAX)
    with contextlib.closing(spool_file.connect_to_read(volume / spool_file.FILE_NAME)) as reading:
        assert reading.execute("SELECT count(*) FROM record").fetchone() == (1,)
    with pytest.raises(SpoolUnavailable):
        await opened.require_open()
    await opened.close()
