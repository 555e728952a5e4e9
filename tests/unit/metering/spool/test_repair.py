"""A damaged spool: found, shown and rebuilt; what cannot be read is named, and nothing is deleted."""

import contextlib
import fcntl
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finpool.metering.errors import SpoolCorrupt, SpoolLocked, SpoolNotFound, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.repair import SEQ_STEP, repair, set_aside
from finpool.metering.spool.salvage import Findings, Salvage, exported
from finpool.metering.spool.schemas import Intent, LeaseReturn, Outcome, RecordKind, Settlement, encode
from finpool.metering.spool.spool import Spool

PAGE_BYTES = 4096
COUNT = 400


@pytest.fixture
def spool(tmp_path: Path, intent: Intent) -> Path:
    """A spool with 400 records numbered from 101, the last a returned lease, and three open intents."""
    with contextlib.closing(spool_file.connect(tmp_path)) as connection:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('record', 100)")
        for number in range(COUNT - 1):
            settled = Settlement(
                replace(intent, request_id=f"req_{number}"), Outcome.COMPLETED, 10, 0, 5, False, "2026-01-01T00:00:01Z"
            )
            connection.execute(
                "INSERT INTO record (kind, body) VALUES (?, ?)", (RecordKind.SETTLEMENT, encode(settled))
            )
        returned = encode(LeaseReturn("bank-a", "lease"))
        connection.execute("INSERT INTO record (kind, body) VALUES (?, ?)", (RecordKind.LEASE_RETURN, returned))
        for name in ("a", "b", "c"):
            under_way = encode(replace(intent, request_id=f"open_{name}"))
            connection.execute("INSERT INTO intent VALUES (?, ?, 7, 0, 3)", (f"open_{name}", under_way))
    return tmp_path


def read(directory: Path, name: str = spool_file.FILE_NAME) -> tuple[list[Any], list[Any], Findings]:
    with contextlib.closing(spool_file.connect_to_read(directory / name)) as connection:
        salvage = Salvage(connection)
        return list(salvage.intents()), [*salvage.aside(), *salvage.records()], salvage.findings


def run(directory: Path, statement: str, *parameters: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(directory / spool_file.FILE_NAME, isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


def damage_page_of(directory: Path, seq: int) -> bytes:
    """Overwrite the page that holds a record; returns the bytes of the damaged file."""
    marker = f'"req_{seq - 101}"'.encode()
    path = directory / spool_file.FILE_NAME
    content = bytearray(path.read_bytes())
    page = content.index(marker) // PAGE_BYTES
    content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(content)
    return bytes(content)


def spool_id(directory: Path) -> str:
    found: str = run(directory, "SELECT spool_id FROM meta")[0][0]
    return found


def test_a_sound_spool_is_found_intact_and_left_untouched(spool: Path) -> None:
    before = (spool / spool_file.FILE_NAME).read_bytes()
    intents, records, findings = read(spool)
    assert findings.intact
    assert (len(intents), len(records), findings.first_seq, findings.last_seq) == (3, COUNT, 101, 100 + COUNT)
    assert findings.missing == []
    assert (spool / spool_file.FILE_NAME).read_bytes() == before


def test_a_spool_with_a_damaged_page_is_not_served_with_and_kept_as_it_is(spool: Path) -> None:
    damaged = damage_page_of(spool, 250)
    with pytest.raises(SpoolCorrupt, match="finpool spool check, export and repair"):
        Spool(spool, 10**9)
    assert (spool / spool_file.FILE_NAME).read_bytes() == damaged


def test_a_repair_keeps_every_other_record_the_id_and_the_numbers(spool: Path) -> None:
    known_id = spool_id(spool)
    damaged = damage_page_of(spool, 250)
    made = repair(spool)
    assert made is not None
    _, records, findings = read(spool)
    lost = COUNT - len(records)
    assert 1 <= lost <= PAGE_BYTES // 300
    assert findings.intact
    assert findings.missing == made.found.missing
    (gap,) = made.found.missing
    first, _, last = gap.partition("-")
    assert int(first) <= 250 <= int(last)
    assert int(last) - int(first) + 1 == lost
    assert findings.digest == made.found.digest
    assert (spool_id(spool), made.last_seq, made.last_seq_known) == (known_id, 100 + COUNT, True)
    (aside,) = spool.glob("spool.damaged-*.sqlite3")
    assert aside.read_bytes() == damaged
    run(spool, "INSERT INTO record (kind, body) VALUES ('lease_return', '{}')")
    assert run(spool, "SELECT max(seq) FROM record") == [(101 + COUNT,)]


async def test_a_repaired_spool_is_served_with_and_settles_what_was_open(spool: Path) -> None:
    damage_page_of(spool, 250)
    repair(spool)
    again = Spool(spool, 10**9)
    await again.close()
    _, records, _ = read(spool)
    assert [each.seq for each in records[-3:]] == [101 + COUNT, 102 + COUNT, 103 + COUNT]


def test_a_record_that_cannot_be_decoded_is_named_left_behind_and_given_as_it_is(spool: Path) -> None:
    run(spool, "UPDATE record SET body = X'7B00' WHERE seq = 200")
    _, records, findings = read(spool)
    assert findings.damaged_records == [200]
    line = exported(next(each for each in records if each.seq == 200))
    assert (line["body_base64"], "fault" in line) == ("ewA=", True)
    made = repair(spool)
    assert made is not None
    _, records, findings = read(spool)
    assert 200 not in [each.seq for each in records]
    assert (len(records), findings.missing) == (COUNT - 1, ["200"])


def test_a_record_is_set_aside_beside_a_running_writer_and_stays_in_the_file(spool: Path) -> None:
    writer = spool_file.connect(spool)
    set_aside(spool, 300)
    writer.close()
    for _ in range(2):
        findings = read(spool)[2]
        assert (findings.records, findings.aside) == (COUNT - 1, [300])
        assert (findings.missing, findings.intact) == ([], True)
        repair(spool)
    with pytest.raises(SpoolNotFound):
        set_aside(spool, 300)
    with pytest.raises(SpoolNotFound):
        set_aside(spool / "elsewhere", 300)


async def test_an_intent_that_cannot_be_decoded_stops_the_start_and_is_named(spool: Path) -> None:
    run(spool, "UPDATE intent SET body = X'00' WHERE request_id = 'open_b'")
    with pytest.raises(SpoolCorrupt, match="open_b"):
        Spool(spool, 10**9)
    made = repair(spool)
    assert made is not None
    assert made.found.damaged_intents == ["open_b"]
    await Spool(spool, 10**9).close()
    assert len(read(spool)[1]) == COUNT + 2


def test_numbers_are_never_given_twice_when_the_last_one_cannot_be_read(spool: Path) -> None:
    known_id = spool_id(spool)
    (spool / spool_file.FILE_NAME).write_bytes(b"not a database" * 1000)
    made = repair(spool)
    assert made is not None
    assert (made.spool_id, made.last_seq, made.last_seq_known) == (known_id, SEQ_STEP, False)
    assert (made.found.records, made.found.intents) == (0, 0)
    assert read(spool)[2].intact


def test_a_spool_that_has_lost_its_id_is_only_repaired_with_one(spool: Path) -> None:
    (spool / spool_file.FILE_NAME).write_bytes(b"not a database" * 1000)
    (spool / spool_file.ID_NAME).unlink()
    before = sorted(path.name for path in spool.iterdir())
    with pytest.raises(SpoolUnusable, match="--spool-id"):
        repair(spool)
    assert (spool / spool_file.FILE_NAME).read_bytes().startswith(b"not a database")
    assert {"spool.sqlite3"} <= set(before)
    made = repair(spool, spool_id="spool_known", last_seq=512)
    assert made is not None
    assert (spool_id(spool), made.last_seq) == ("spool_known", 512)


def test_a_spool_in_use_is_not_repaired(spool: Path) -> None:
    for lock in (spool_file.lock(spool), spool_file.lock_reading(spool)):
        with lock:
            with pytest.raises(SpoolLocked):
                repair(spool)
            fcntl.flock(lock, fcntl.LOCK_UN)
    with pytest.raises(SpoolNotFound):
        repair(spool / "elsewhere")


def test_a_repair_that_was_broken_off_is_finished_and_no_new_spool_is_begun_meanwhile(spool: Path) -> None:
    known_id = spool_id(spool)
    path = spool / spool_file.FILE_NAME
    path.rename(spool / spool_file.REPAIRED_NAME)
    (spool / "spool.damaged-20260101T000000.sqlite3").write_bytes(b"damaged")
    with pytest.raises(SpoolCorrupt, match="broken off"):
        spool_file.connect(spool)
    assert repair(spool) is None
    assert spool_id(spool) == known_id
    assert len(read(spool)[1]) == COUNT


def test_what_is_only_in_the_log_is_read_and_moved_aside_with_the_damaged_file(spool: Path, intent: Intent) -> None:
    writer = spool_file.connect(spool)
    writer.execute('INSERT INTO record (kind, body) VALUES (\'lease_return\', \'{"tenant_id": "b", "lease_id": "l"}\')')
    copy = spool / "copy"
    copy.mkdir()
    for name in (spool_file.FILE_NAME, f"{spool_file.FILE_NAME}-wal", spool_file.ID_NAME):
        (copy / name).write_bytes((spool / name).read_bytes())
    writer.close()
    made = repair(copy)
    assert made is not None
    assert made.found.records == COUNT + 1
    assert len(list(copy.glob("spool.damaged-*.sqlite3-wal"))) == 1
    assert len(read(copy)[1]) == COUNT + 1
