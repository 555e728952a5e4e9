"""If any pages of a spool are overwritten or cut off, a repair ends, invents nothing and gives no number twice."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finpool.metering.spool import file as spool_file
from finpool.metering.spool.repair import SEQ_STEP, Repair, repair
from finpool.metering.spool.schemas import Intent, Outcome, RecordKind, Settlement, encode

PAGE_BYTES = 4096
COUNT = 300
FIRST = 1001


Rows = tuple[set[Any], set[Any], str, int]
"""Intents, records, the id of the spool, and the number of its last record."""

Repaired = Callable[[set[int], bytes, int], tuple[Rows, Rows, Repair | None]]


@pytest.fixture
def sound(tmp_path: Path, intent: Intent) -> Path:
    """A spool with 300 records from 1001 on and two open intents."""
    with contextlib.closing(spool_file.connect(tmp_path)) as connection:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('record', ?)", (FIRST - 1,))
        for number in range(COUNT):
            settled = Settlement(
                replace(intent, request_id=f"req_{number}"), Outcome.COMPLETED, number, 0, 5, False, "2026-01-01"
            )
            row = (RecordKind.SETTLEMENT, encode(settled))
            connection.execute("INSERT INTO record (kind, body) VALUES (?, ?)", row)
        for name in ("a", "b"):
            under_way = encode(replace(intent, request_id=name))
            connection.execute("INSERT INTO intent VALUES (?, ?, 7, 0, 3)", (name, under_way))
    return tmp_path


def rows(directory: Path) -> Rows:
    with contextlib.closing(sqlite3.connect(directory / spool_file.FILE_NAME)) as connection:
        intents = {tuple(row) for row in connection.execute("SELECT * FROM intent")}
        records = {tuple(row) for row in connection.execute("SELECT * FROM record")}
        (known_id,) = connection.execute("SELECT spool_id FROM meta").fetchone()
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    return intents, records, known_id, last


@pytest.fixture
def damage_and_repair(sound: Path) -> Repaired:
    content = (sound / spool_file.FILE_NAME).read_bytes()
    before = rows(sound)

    def run(pages: set[int], filling: bytes, cut_pages: int) -> tuple[Rows, Rows, Repair | None]:
        damaged = bytearray(content)
        for page in pages:
            at = page % (len(content) // PAGE_BYTES) * PAGE_BYTES
            damaged[at : at + PAGE_BYTES] = filling * PAGE_BYTES
        del damaged[len(damaged) - cut_pages * PAGE_BYTES :]
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            (directory / spool_file.FILE_NAME).write_bytes(damaged)
            (directory / spool_file.ID_NAME).write_text(before[2])
            made = repair(directory)
            return before, rows(directory), made

    return run


PAGES = st.sets(st.integers(0, 200), max_size=12)


def test_a_repair_keeps_only_what_was_there_and_goes_on_behind_every_number(damage_and_repair: Repaired) -> None:
    @settings(max_examples=40, deadline=None)
    @given(pages=PAGES, filling=st.sampled_from([b"\x00", b"\xff", b"\x0d", b"{"]), cut_pages=st.integers(0, 20))
    def check(pages: set[int], filling: bytes, cut_pages: int) -> None:
        before, after, made = damage_and_repair(pages, filling, cut_pages)
        (intents, records, known_id, last), (kept_intents, kept_records, kept_id, kept_last) = before, after
        assert made is not None
        assert kept_intents <= intents
        assert kept_records <= records
        assert kept_id == known_id
        assert kept_last >= last
        assert made.last_seq_known or kept_last >= SEQ_STEP
        assert made.found.records == len(kept_records)

    check()
