"""Every door says how fresh the audit log is, and names the events that it could not take."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from usage_doors import Doors

from finpool.audit import service as audit
from finpool.audit.freshness_watch import FreshnessWatch
from finpool.audit.sequencer import Sequencer
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

BANK_A, BANK_B = TenantId("bank-a"), TenantId("bank-b")
OpenDatabase = Callable[[str], Database]


@pytest.fixture
async def owner(database: OpenDatabase, banks: None) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await database("owner").connect()
    await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    yield connection
    await connection.execute("ALTER TABLE audit_outbox ENABLE TRIGGER fits_the_log")
    await connection.close()


@pytest.fixture
async def halted(database: OpenDatabase, owner: "asyncpg.Connection[asyncpg.Record]", doors: Doors) -> None:
    """An event of bank A waits for five minutes, because no sequencer runs any more."""
    while await Sequencer(database("worker")).run_once():
        pass
    async with database("operator").across_tenants() as session:
        await audit.append(session, kind="test.event", tenant_id=BANK_A, actor=None, body={})
    await owner.execute("UPDATE audit_outbox SET written_at = written_at - interval '5 minutes'")


@pytest.fixture
async def set_aside(database: OpenDatabase, owner: "asyncpg.Connection[asyncpg.Record]", doors: Doors) -> int:
    """The number of an event of bank A that the log could not take, written before the database checked events."""
    await owner.execute("ALTER TABLE audit_outbox DISABLE TRIGGER fits_the_log")
    async with database("operator").across_tenants() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            "INSERT INTO audit_outbox (tenant_id, occurred_at, kind, body)"
            " VALUES ('bank-a', now(), 'test.event', '{\"a\": 1e30}')"
        )
    while await Sequencer(database("worker")).run_once():
        pass
    async with database("operator").across_tenants() as session:
        connection = await session.connection()
        return int((await connection.exec_driver_sql("SELECT outbox_id FROM audit_quarantine")).scalar_one())


async def told(doors: Doors) -> dict[str, dict[str, Any]]:
    """Return the freshness that each door tells."""
    log = await doors.operator.get("/v1/audit-log/freshness")
    entries = await doors.regulator.get("/v1/entries")
    trails = {
        bank: await doors.tenant(f"{bank}/owner").get("/v1/organization/audit_logs") for bank in ("bank-a", "bank-b")
    }
    return {
        "operator": log.json(),
        "regulator": entries.json()["freshness"],
        **{bank: trail.json()["freshness"] for bank, trail in trails.items()},
    }


async def test_every_door_says_that_the_log_is_stale_and_a_bank_only_hears_of_its_own_events(
    doors: Doors, halted: None, database: OpenDatabase
) -> None:
    found = await told(doors)
    for door in ("operator", "regulator", "bank-a"):
        assert found[door]["is_fresh"] is False
        assert 299 < found[door]["oldest_waiting_seconds"] < 400
    assert found["bank-b"]["is_fresh"] is True
    while await Sequencer(database("worker")).run_once():
        pass
    found = await told(doors)
    assert {door: each["is_fresh"] for door, each in found.items()} == dict.fromkeys(found, True)
    assert found["bank-a"]["oldest_waiting_seconds"] is None
    assert found["bank-a"]["last_entry_seconds"] < 60


async def test_every_door_counts_an_event_in_quarantine_until_an_operator_has_reviewed_it(
    doors: Doors, set_aside: int
) -> None:
    found = await told(doors)
    assert {door: each["quarantined"] for door, each in found.items()} == {
        "operator": 1,
        "regulator": 1,
        "bank-a": 1,
        "bank-b": 0,
    }
    assert [door for door, each in found.items() if each["is_fresh"]] == ["bank-b"]
    for door, path in ((doors.operator, "/v1/audit-log/quarantine"), (doors.regulator, "/v1/quarantine")):
        [event] = (await door.get(path)).json()["data"]
        assert event["outbox_id"] == set_aside
        assert event["reason"] == "its body has a fraction, or an integer beyond 2^53 - 1"
        assert event["content_bytes"] > 50
        assert door is doors.operator or '"kind": "test.event"' in event["content"]
        assert door is doors.regulator or event["content"] is None
    review = f"/v1/audit-log/quarantine/{set_aside}/review"
    for _ in range(2):
        answer = await doors.operator.post(review, json={"finding": "A test wrote it."})
        assert answer.status_code == 200
        assert answer.json()["reviewed_by"].startswith("token_")
    assert all(each["is_fresh"] for each in (await told(doors)).values())
    assert (await doors.operator.get("/v1/audit-log/quarantine")).json()["data"] == []
    [kept] = (await doors.operator.get("/v1/audit-log/quarantine?reviewed=true&limit=1")).json()["data"]
    assert kept["reviewed_by"].startswith("token_")
    page = (await doors.operator.get(f"/v1/audit-log/quarantine?reviewed=true&after={set_aside}")).json()
    assert page == {"object": "list", "data": [], "next": None}


async def test_only_an_event_that_is_there_is_reviewed(doors: Doors) -> None:
    missing = await doors.operator.post("/v1/audit-log/quarantine/1/review", json={"finding": "Nothing."})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "event_not_set_aside")


async def test_the_metrics_grow_while_the_database_does_not_answer(
    database: OpenDatabase, halted: None, set_aside: int
) -> None:
    watch = FreshnessWatch(database("operator"), 60)
    assert watch.values() == {}
    await watch.read()
    values = watch.values()
    assert values["finpool_audit_events_quarantined"] == 1
    assert values["finpool_audit_oldest_event_age_seconds"] == 0
    assert 0 <= values["finpool_audit_last_entry_age_seconds"] < 60
