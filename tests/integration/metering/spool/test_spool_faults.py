"""A spool that cannot be written for a while: requests are refused, and afterwards everything is as it should be."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sample_intent import INTENT

from finpool.metering.errors import SpoolCorrupt, SpoolUnavailable, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.file import FILE_NAME
from finpool.metering.spool.schemas import encode
from finpool.metering.spool.spool import Spool

LARGEST_SQLITE_INTEGER = 2**63 - 1

OPEN_MANY = """
import pathlib, sys
from finpool.metering import spool_file
for number in range(100):
    connection = spool_file.connect(pathlib.Path(sys.argv[1]) / str(number))
    print(spool_file.spool_id(connection))
    connection.close()
"""


def test_processes_that_open_new_spools_together_all_get_the_same_ones(tmp_path: Path) -> None:
    # A process that is behind catches up, because a spool that exists opens faster: they meet at the newest one.
    command = [sys.executable, "-c", OPEN_MANY, str(tmp_path)]
    openers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    opened = {each.communicate(timeout=60)[0] for each in openers}
    assert len(opened) == 1, opened


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    opened = Spool(tmp_path, 10**9)
    yield opened
    await opened.close()


async def test_a_count_that_no_spool_can_hold_does_not_stop_the_spool(spool: Spool) -> None:
    await spool.intend(INTENT)
    spool.mark("req_1", LARGEST_SQLITE_INTEGER + 1, 0, 0)
    async with asyncio.timeout(10):
        await spool.intend(replace(INTENT, request_id="req_2"))


@pytest.fixture
def lost_lines() -> Iterator[list[str]]:
    """Let the disk of the logs be full; yields the events that were lost."""
    lost: list[str] = []

    def disk_full(_logger: object, _method: str, line: Any) -> Any:
        lost.append(line["event"])
        raise OSError(28, "No space left on device")

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [disk_full]
    yield lost
    processors[:] = before


async def test_a_log_that_cannot_be_written_does_not_stop_the_spool(spool: Spool, lost_lines: list[str]) -> None:
    await spool.intend(INTENT)
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable):
            await spool.intend(INTENT)
        await spool.intend(replace(INTENT, request_id="req_2"))
    assert lost_lines == ["the spool could not be written"]


async def test_a_write_after_the_end_is_refused_and_not_left_waiting(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.close()
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable):
            await spool.intend(INTENT)


async def test_what_is_committed_is_never_reported_as_failed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("finpool.metering.spool.file.bytes_used", unreadable)
    await spool.intend(INTENT)


async def test_a_spool_whose_file_was_deleted_takes_nothing_any_more(spool: Spool, tmp_path: Path) -> None:
    await spool.intend(INTENT)
    (tmp_path / FILE_NAME).unlink()
    for _ in range(2):
        with pytest.raises(SpoolUnavailable):
            await spool.intend(replace(INTENT, request_id="req_2"))
        with pytest.raises(SpoolUnavailable, match="taken away"):
            await spool.require_open()
    assert not (tmp_path / FILE_NAME).exists()


async def test_a_spool_whose_file_was_replaced_takes_nothing_any_more(spool: Spool, tmp_path: Path) -> None:
    await spool.intend(INTENT)
    spool_file.connect(tmp_path / "other").close()
    (tmp_path / "other" / FILE_NAME).replace(tmp_path / FILE_NAME)
    with pytest.raises(SpoolUnavailable, match="taken away"):
        await spool.discard("req_1")


async def test_no_new_spool_is_begun_beside_the_log_of_one_that_is_gone(spool: Spool, tmp_path: Path) -> None:
    await spool.intend(INTENT)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(SpoolCorrupt, match="its log is left"):
        spool_file.connect(tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


async def test_a_spool_that_became_read_only_refuses_and_works_again_when_it_is_not(spool: Spool) -> None:
    spool._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(SpoolUnavailable):
        await spool.intend(INTENT)
    with pytest.raises(SpoolUnavailable):
        await spool.require_open()
    spool._connection.execute("PRAGMA query_only = OFF")
    await spool.require_open()
    await spool.intend(INTENT)


async def test_a_page_that_cannot_be_read_any_more_ends_new_work_until_a_repair(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def malformed(_: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(SpoolUnavailable):
        await spool._writer.write(malformed)
    with pytest.raises(SpoolUnavailable, match="repaired"):
        await spool.intend(INTENT)


async def test_a_full_spool_takes_work_again_once_it_is_recorded_although_nobody_else_writes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 65_536)
    for number in range(1000):
        await spool.return_lease("bank-a", f"lease_{number}")
    with pytest.raises(SpoolUnavailable, match="full"):
        await spool.intend(INTENT)
    recorder = sqlite3.connect(tmp_path / FILE_NAME)
    recorder.execute("DELETE FROM record")
    recorder.commit()
    recorder.close()
    await spool.require_open()
    await spool.intend(INTENT)
    await spool.close()


def test_a_spool_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(SpoolUnusable, match="cannot be opened"):
        Spool(tmp_path / "file" / "spool", 10**9)


FULL_DISK = """
import asyncio, pathlib, resource, sys
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.spool.schemas import decode_intent
from finpool.metering.spool.spool import Spool

async def attempt(name, writing):
    try:
        await writing
    except SpoolUnavailable:
        sys.stderr.write(f"{name} refused\\n")
    else:
        sys.stderr.write(f"{name} done\\n")

async def main():
    spool = Spool(pathlib.Path(sys.argv[1]), 10**9)
    intent = decode_intent(sys.argv[2].encode())
    await attempt("before", spool.intend(intent))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    await attempt("while full", spool.discard(intent.request_id))
    await attempt("asked while full", spool.require_open())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await attempt("asked after", spool.require_open())
    await attempt("after", spool.discard(intent.request_id))
    await spool.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_nothing_refuses_work_and_loses_nothing(tmp_path: Path) -> None:
    # Without a disk of its own a test can limit the size of files; the process must be its own, too.
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), encode(INTENT).decode()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.splitlines() == [
        "before done",
        "while full refused",
        "asked while full refused",
        "asked after done",
        "after done",
    ]
