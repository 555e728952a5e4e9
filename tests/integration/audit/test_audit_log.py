"""The log in Postgres: what commits is recorded once, in an unbroken chain; an event that does not commit is not."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from finpool.audit.errors import AuditEntryTooLarge
from finpool.audit.schemas import ENTRY_BYTES_MAX, Entry, Event, verify_chain
from finpool.audit.sequencer import Sequencer
from finpool.audit.service import append, append_all, entries
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

OPERATOR = Actor(Audience.OPERATOR, "token_1", Role.OPERATOR_ADMIN)
BANK_A = TenantId("bank-a")
BANK_B = TenantId("bank-b")


async def record(database: Database, number: int, tenant_id: TenantId | None = BANK_A) -> None:
    async with database.across_tenants() as session:
        await append(session, kind="test.event", tenant_id=tenant_id, actor=OPERATOR, body={"number": number})


async def whole_log(database: Database) -> list[Entry]:
    async with database.across_tenants() as session:
        return (await entries(session, after=None, limit=10_000)).entries


@pytest.mark.parametrize("role", ["operator", "regulator", "worker"])
async def test_every_writing_role_can_append(database: Callable[[str], Database], role: str) -> None:
    await record(database(role), 1)
    assert await Sequencer(database("worker")).run_once() == 1
    [entry] = await whole_log(database("regulator"))
    assert verify_chain([entry]) is None
    assert orjson.loads(entry.entry) | {"occurred_at": ""} == {
        "seq": 0,
        "occurred_at": "",
        "kind": "test.event",
        "tenant_id": "bank-a",
        "body": {
            "number": 1,
            "actor": {"audience": "operator", "role": "operator.admin", "credential_id": "token_1"},
        },
    }


@pytest.mark.parametrize("role", ["operator", "regulator"])
async def test_writers_cannot_withdraw_what_they_wrote(database: Callable[[str], Database], role: str) -> None:
    await record(database(role), 1)
    for statement in ("DELETE FROM audit_outbox", "UPDATE audit_outbox SET kind = 'x'"):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with database(role).across_tenants() as session:
                await session.execute(text(statement))


@pytest.mark.parametrize("role", ["tenant", "operator", "regulator", "worker", "inference"])
@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET entry = '{}'", "DELETE FROM audit_entry"])
async def test_no_role_can_change_the_log(database: Callable[[str], Database], role: str, statement: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database(role).across_tenants() as session:
            await session.execute(text(statement))


async def test_an_event_of_a_transaction_that_rolls_back_is_not_recorded(database: Callable[[str], Database]) -> None:
    async def change_and_fail() -> None:
        async with database("operator").across_tenants() as session:
            await append(session, kind="test.event", tenant_id=None, actor=None, body={})
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await change_and_fail()
    assert await Sequencer(database("worker")).run_once() == 0
    assert await whole_log(database("operator")) == []


async def test_an_event_that_commits_after_a_later_one_was_moved_is_still_recorded(
    database: Callable[[str], Database],
) -> None:
    sequencer = Sequencer(database("worker"))
    async with database("operator").across_tenants() as slow:
        await append(slow, kind="test.event", tenant_id=None, actor=None, body={"number": 1})
        await record(database("operator"), 2)
        assert await sequencer.run_once() == 1
    assert await sequencer.run_once() == 1
    log = await whole_log(database("operator"))
    assert [orjson.loads(entry.entry)["body"]["number"] for entry in log] == [2, 1]
    assert verify_chain(log) is None


async def test_many_events_are_recorded_in_their_order(database: Callable[[str], Database]) -> None:
    events = [Event("test.event", BANK_A, None, {"number": number}) for number in range(20)]
    async with database("worker").across_tenants() as session:
        await append_all(session, [])
        await append_all(session, events)
    assert await Sequencer(database("worker")).run_once() == 20
    log = await whole_log(database("operator"))
    assert [orjson.loads(entry.entry)["body"]["number"] for entry in log] == list(range(20))


async def test_concurrent_writers_and_two_sequencers_make_one_unbroken_chain(
    database: Callable[[str], Database],
) -> None:
    writing = True

    async def write(first: int) -> None:
        for number in range(first, first + 30):
            await record(database("operator"), number, BANK_A if number % 2 else None)

    async def sequence() -> int:
        sequencer, moved = Sequencer(database("worker"), batch_max=7), 0
        while writing:
            moved += await sequencer.run_once()
            await asyncio.sleep(0)
        while rest := await sequencer.run_once():
            moved += rest
        return moved

    sequencers = [asyncio.create_task(sequence()) for _ in range(2)]
    await asyncio.gather(*(write(first) for first in (0, 100, 200, 300)))
    writing = False
    moved = sum(await asyncio.gather(*sequencers))
    # One may have seen the other's lock and left; a last run takes what is left then.
    while rest := await Sequencer(database("worker")).run_once():
        moved += rest
    log = await whole_log(database("operator"))
    assert [entry.seq for entry in log] == list(range(120))
    assert verify_chain(log) is None
    numbers = sorted(orjson.loads(entry.entry)["body"]["number"] for entry in log)
    assert numbers == [first + step for first in (0, 100, 200, 300) for step in range(30)]
    assert moved == 120


async def test_a_tenant_reads_only_its_own_entries(database: Callable[[str], Database]) -> None:
    for tenant_id in (BANK_A, BANK_B, None):
        await record(database("operator"), 1, tenant_id)
    await Sequencer(database("worker")).run_once()
    async with database("tenant").for_tenant(BANK_A) as session:
        own = await entries(session, after=None, limit=10)
        asked_for_other = await entries(session, after=None, limit=10, tenant_id=BANK_B)
    assert [entry.tenant_id for entry in own.entries] == ["bank-a"]
    assert asked_for_other.entries == []


async def test_the_largest_entry_that_append_takes_is_stored(database: Callable[[str], Database]) -> None:
    async def append_text(length: int) -> None:
        async with database("operator").across_tenants() as session:
            await append(session, kind="test.event", tenant_id=BANK_A, actor=OPERATOR, body={"text": "x" * length})

    with pytest.raises(AuditEntryTooLarge) as refused:
        await append_text(ENTRY_BYTES_MAX)
    excess = int(str(refused.value).split("take ")[1].split(" bytes")[0]) - ENTRY_BYTES_MAX
    with pytest.raises(AuditEntryTooLarge):
        await append_text(ENTRY_BYTES_MAX - excess + 1)
    await append_text(ENTRY_BYTES_MAX - excess)
    assert await Sequencer(database("worker")).run_once() == 1


@pytest.mark.parametrize(
    "body",
    [
        {"actor": {"role": "operator.admin"}},
        {"amount": 1.5},
        {"amounts": [{"deep": (1, 1e300)}]},
        {"amount": 2**53},
        {"text": "\ud800"},
        {"object": object()},
    ],
)
async def test_a_body_that_would_stop_the_sequencer_is_refused_at_once(
    database: Callable[[str], Database], body: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the library's for most of these.
        async with database("operator").across_tenants() as session:
            await append(session, kind="test.event", tenant_id=None, actor=None, body=body)


async def test_a_change_made_by_the_owner_of_the_schema_is_found(
    clean_postgres: EmbeddedPostgres, database: Callable[[str], Database]
) -> None:
    for number in range(3):
        await record(database("operator"), number)
    await Sequencer(database("worker")).run_once()
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
        change = "UPDATE audit_entry SET entry = replace(entry, ':1', ':9') WHERE seq = 1"
        with pytest.raises(asyncpg.RaiseError, match="immutable"):
            await connection.execute(change)
        await connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER immutable")
        changed = await connection.execute(change)
    finally:
        await connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER immutable")
        await connection.close()
    assert changed == "UPDATE 1"
    assert verify_chain(await whole_log(database("regulator"))) == 1
