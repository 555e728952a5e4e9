"""The spool: durable when it says so, and aware of the requests that ran when it stopped."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_intent import INTENT

from finpool.kernel.errors import ConfigurationError
from finpool.metering.errors import SpoolCorrupt, SpoolUnavailable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.schemas import Intent, Outcome, RecordKind, Settlement, decode_settlement
from finpool.metering.spool.spool import Spool


def settlement(intent: Intent = INTENT, outcome: Outcome = Outcome.COMPLETED) -> Settlement:
    return Settlement(intent, outcome, 100, 40, 7, estimated=False, settled_at="2026-01-01T00:00:01+00:00")


def rows(directory: Path) -> list[Any]:
    connection = sqlite3.connect(directory / spool_file.FILE_NAME)
    try:
        return connection.execute("SELECT kind, body FROM record ORDER BY seq").fetchall()
    finally:
        connection.close()


def test_cost_is_exact_and_cached_tokens_are_a_part_of_the_input() -> None:
    assert settlement().cost_picos == 60 * 3 + 40 * 1 + 7 * 5
    assert settlement(outcome=Outcome.FAILED).cost_picos == 0


async def test_what_was_acknowledged_is_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    intents = [replace(INTENT, request_id=f"req_{number}") for number in range(100)]
    await asyncio.gather(*(spool.intend(each) for each in intents))
    await asyncio.gather(*(spool.settle(settlement(each)) for each in intents))
    await spool.return_lease("bank-a", "lease")
    found = rows(tmp_path)
    await spool.close()
    assert [kind for kind, _ in found] == [RecordKind.SETTLEMENT] * 100 + [RecordKind.LEASE_RETURN]
    assert {decode_settlement(body).intent.request_id for _, body in found[:100]} == {
        each.request_id for each in intents
    }


async def test_an_open_intent_is_settled_at_its_last_mark_by_the_next_run(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.intend(INTENT)
    spool.mark("req_1", 9, 2, 3)
    await spool.close()
    again = Spool(tmp_path, 10**9)
    await again.close()
    ((_, body),) = rows(tmp_path)
    found = decode_settlement(body)
    assert (found.outcome, found.estimated) == (Outcome.CRASHED, True)
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens) == (9, 2, 3)
    assert again.spool_id == spool.spool_id


async def test_what_the_next_run_settles_may_be_recorded_before_it_serves(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.settle(settlement())
    await spool.intend(INTENT)
    await spool.close()
    await Spool(tmp_path, 10**9, recorded={spool.spool_id: 1, "another": 7}).close()
    assert len(rows(tmp_path)) == 2


async def test_an_old_copy_is_refused_and_nothing_is_settled_in_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.settle(settlement())
    await spool.intend(INTENT)
    await spool.close()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"older than its records in the database \(1 < 2\)"):
            Spool(tmp_path, 10**9, recorded={spool.spool_id: 2})
    assert len(rows(tmp_path)) == 1


async def test_a_discarded_intent_leaves_no_trace(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.intend(INTENT)
    await spool.discard("req_1")
    await spool.close()
    await Spool(tmp_path, 10**9).close()
    assert rows(tmp_path) == []


async def test_a_spool_that_cannot_be_written_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**9)
    await spool.settle(settlement())
    holder = sqlite3.connect(tmp_path / spool_file.FILE_NAME)
    spool._connection.execute("PRAGMA busy_timeout = 1")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnavailable):
        await spool.intend(INTENT)
    holder.execute("ROLLBACK")
    holder.close()
    await spool.intend(INTENT)
    await spool.close()
    assert len(rows(tmp_path)) == 1


def test_a_damaged_spool_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / spool_file.FILE_NAME
    path.write_bytes(b"not a database" * 100)
    before = path.read_bytes()
    with pytest.raises(SpoolCorrupt, match="see finpool spool check"):
        spool_file.connect(tmp_path)
    assert path.read_bytes() == before
