"""The recorder on a spool that is damaged, deleted or replaced under it: nothing is skipped, nothing twice."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_intent import INTENT as SAMPLE
from sqlalchemy import text

from finpool.catalogue.model.schemas import Price
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId
from finpool.metering.errors import RecordDamaged, SpoolCorrupt, SpoolLocked
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.repair import repair, set_aside
from finpool.metering.spool.schemas import Outcome, RecordKind, Settlement, encode
from finpool.quota.models import Account, Budget, Lease
from finpool.tenancy.models import Tenant

GRANTED_PICOS = 10**12
PRICE = TokenPrice.of(
    "m",
    Price(
        currency="CNY",
        input_micros_per_million_tokens=3,
        cached_input_micros_per_million_tokens=1,
        output_micros_per_million_tokens=5,
    ),
)
INTENT = replace(SAMPLE, request_id="req_0", price_version=PRICE.price_version, lease_ids=("lease_1",))


@pytest.fixture
async def recorder(database: Callable[[str], Database], tmp_path: Path) -> AsyncIterator[Recorder]:
    """The recorder of a replica, and two banks with a lease each."""
    async with database("operator").across_tenants() as session:
        for bank in ("bank-a", "bank-b"):
            session.add(Tenant(tenant_id=bank, name=bank, status="active", models=["*"], version=1, created_at=now()))
            await session.flush()
            session.add(Account(tenant_id=bank, updated_at=now()))
            await session.flush()
            budget: dict[str, Any] = {"set_by": "operator", "scope": "tenant", "scope_id": bank, "period": "total"}
            session.add(Budget(tenant_id=bank, budget_id="total", pending_picos=GRANTED_PICOS, **budget))
    async with database("inference").across_tenants() as session:
        for bank in ("bank-a", "bank-b"):
            held: dict[str, Any] = {
                "replica_id": "one",
                "spool_id": "s",
                "granted_picos": GRANTED_PICOS,
                "opened_at": now(),
            }
            session.add(Lease(tenant_id=bank, lease_id="lease_1", budget_id="total", **held))
    opened = Recorder(database("worker"), tmp_path, ReplicaId("one"))
    yield opened
    opened.close()


def body(number: int) -> bytes:
    intent = replace(INTENT, request_id=f"req_{number}", tenant_id=("bank-a", "bank-b")[number % 2])
    return encode(Settlement(intent, Outcome.COMPLETED, 10, 4, 3, False, "2026-01-01T00:00:01+00:00"))


def write(directory: Path, *bodies: bytes) -> None:
    with contextlib.closing(spool_file.connect(directory)) as connection:
        for each in bodies:
            connection.execute("INSERT INTO record (kind, body) VALUES (?, ?)", (RecordKind.SETTLEMENT, each))


async def drain(recorder: Recorder) -> None:
    while await recorder.run_once():
        pass


async def recorded(database: Callable[[str], Database]) -> list[tuple[Any, ...]]:
    async with database("operator").across_tenants() as session:
        query = "SELECT tenant_id, request_id, usage_seq FROM usage_record ORDER BY spool_seq, request_id"
        return [tuple(row) for row in await session.execute(text(query))]


async def test_usage_is_numbered_for_each_tenant_in_the_order_of_the_spool(
    recorder: Recorder, database: Callable[[str], Database], tmp_path: Path
) -> None:
    write(tmp_path, *(body(number) for number in range(5)))
    await drain(recorder)
    write(tmp_path, body(5))
    await drain(recorder)
    assert await recorded(database) == [
        ("bank-a", "req_0", 1),
        ("bank-b", "req_1", 1),
        ("bank-a", "req_2", 2),
        ("bank-b", "req_3", 2),
        ("bank-a", "req_4", 3),
        ("bank-b", "req_5", 3),
    ]
    cost = 6 * 3 + 4 * 1 + 3 * 5
    async with database("operator").across_tenants() as session:
        query = "SELECT posted_picos, pending_picos FROM budget ORDER BY tenant_id"
        rows = [tuple(map(int, row)) for row in await session.execute(text(query))]
    assert rows == [(3 * cost, GRANTED_PICOS - 3 * cost)] * 2


async def test_an_empty_spool_asks_nothing_of_the_database(
    recorder: Recorder, database: Callable[[str], Database], tmp_path: Path
) -> None:
    write(tmp_path, body(0))
    await drain(recorder)
    async with database("worker").across_tenants() as session:
        await session.execute(text("SELECT seq FROM spool_position FOR UPDATE"))
        async with asyncio.timeout(5):
            assert await recorder.run_once() == 0
    write(tmp_path, body(1))
    await drain(recorder)
    assert [row[1] for row in await recorded(database)] == ["req_0", "req_1"]


async def test_a_record_that_cannot_be_decoded_is_named_and_those_behind_it_wait_for_an_operator(
    recorder: Recorder, database: Callable[[str], Database], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, body(0), body(1), b"{", body(3))
    for _ in range(4):
        with contextlib.suppress(RecordDamaged):
            await recorder.run_once()
    assert [row[1] for row in await recorded(database)] == ["req_0", "req_1"]
    with pytest.raises(RecordDamaged, match=r"record 3 of the spool .*finpool spool export"):
        await recorder.run_once()
    assert "a record cannot be recorded" in capsys.readouterr().out
    with pytest.raises(SpoolLocked):
        repair(tmp_path)
    set_aside(tmp_path, 3)
    await drain(recorder)
    assert [row[1] for row in await recorded(database)] == ["req_0", "req_1", "req_3"]


async def test_what_a_deleted_spool_held_is_recorded_before_a_new_one_is_read(
    recorder: Recorder, database: Callable[[str], Database], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, body(0))
    await drain(recorder)
    write(tmp_path, body(1), body(2))
    (tmp_path / spool_file.FILE_NAME).unlink()
    await drain(recorder)
    assert [row[1] for row in await recorded(database)] == ["req_0", "req_1", "req_2"]
    assert "the spool was deleted or replaced" in capsys.readouterr().out
    with pytest.raises(SpoolCorrupt, match="its log is left"):
        await recorder.run_once()
    (tmp_path / f"{spool_file.FILE_NAME}-wal").unlink()
    write(tmp_path, body(3))
    await drain(recorder)
    assert [row[1] for row in await recorded(database)] == ["req_0", "req_3", "req_1", "req_2"]


async def test_a_spool_that_was_damaged_under_the_recorder_is_let_go_and_taken_up_again_once_repaired(
    recorder: Recorder, database: Callable[[str], Database], tmp_path: Path
) -> None:
    write(tmp_path, body(0))
    await drain(recorder)
    write(tmp_path, *(body(number) for number in range(1, 40)))
    path = tmp_path / spool_file.FILE_NAME
    sound = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    at = content.index(b'"req_20"') // 4096 * 4096
    content[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    assert sound != bytes(content)
    recorder.close()
    for _ in range(2):
        with pytest.raises(SpoolCorrupt, match="finpool spool check"):
            await recorder.run_once()
    assert path.read_bytes() == bytes(content)
    made = repair(tmp_path)
    assert made is not None
    await drain(recorder)
    found = {row[1] for row in await recorded(database)}
    assert len(found) == 1 + made.found.records
    assert "req_20" not in found
    assert "req_39" in found
