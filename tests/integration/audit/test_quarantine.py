"""One bad row halts nobody's evidence: the database refuses it, and the log goes on past one that waits already."""

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import orjson
import pytest
from signed_context import SignedConnection
from sqlalchemy import text

from finpool.audit.schemas import Entry, verify_chain
from finpool.audit.sequencer import Sequencer
from finpool.audit.service import append, entries
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

OpenDatabase = Callable[[str], Database]
BANK_A, BANK_B = TenantId("bank-a"), TenantId("bank-b")
WRITERS = ("tenant", "operator", "regulator", "worker", "pool")

BAD: dict[str, tuple[str, str, str]] = {
    "a large number": ("now()", "test.event", "'{\"a\": 1e30}'"),
    "a number of 5,000 digits": ("now()", "test.event", "jsonb_build_object('a', repeat('9', 5000)::numeric)"),
    "a small fraction": ("now()", "test.event", '\'{"a": [{"b": 0.1}]}\''),
    "a list": ("now()", "test.event", "'[1]'"),
    "a text": ("now()", "test.event", "'\"text\"'"),
    "nothing": ("now()", "test.event", "'null'"),
    "70 kB": ("now()", "test.event", "jsonb_build_object('a', repeat('x', 70000))"),
    "1 MB": ("now()", "test.event", "jsonb_build_object('a', repeat('x', 1000000))"),
    "a little too much": ("now()", "test.event", "jsonb_build_object('a', repeat('é', 32760))"),
    "depth 3,000": ("now()", "test.event", "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb"),
    "no moment": ("'-infinity'", "test.event", "'{}'"),
    "the end of time": ("'infinity'", "test.event", "'{}'"),
    "the year 20000": ("'20000-01-01'", "test.event", "'{}'"),
    "before Christ": ("'0044-03-15 BC'", "test.event", "'{}'"),
    "a kind without a dot": ("now()", "k", "'{}'"),
    "a kind of 9,000 characters": ("now()", "k." + "k" * 9000, "'{}'"),
    "an actor without a credential": ("now()", "test.event", '\'{"actor": "root"}\''),
    "a project that no index holds": (
        "now()",
        "test.event",
        "jsonb_build_object('project_id', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n))",
    ),
    "a project that is no text": ("now()", "test.event", '\'{"project_id": {"a": 1}}\''),
    "usage without tokens": ("now()", "usage.recorded", '\'{"request_id": "r", "cost_picos": "many"}\''),
}


async def insert(connection: SignedConnection, moment: str, kind: str, body: str, tenant: str = "NULL") -> None:
    await connection.execute(
        f"INSERT INTO audit_outbox (tenant_id, occurred_at, kind, body) VALUES ({tenant}, {moment}, '{kind}', {body})"
    )


async def record(database: Database, tenant_id: TenantId) -> None:
    async with database.across_tenants() as session:
        await append(session, kind="test.event", tenant_id=tenant_id, actor=None, body={})


async def whole_log(database: Database) -> list[Entry]:
    async with database.across_tenants() as session:
        return (await entries(session, after=None, limit=1000)).entries


@pytest.fixture
async def unchecked(database: OpenDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's connection to a database whose outbox takes everything, as it did before events were checked."""
    connection = await database("owner").connect()
    try:
        await connection.execute("ALTER TABLE audit_outbox DISABLE TRIGGER fits_the_log")
        yield connection
    finally:
        await connection.execute("ALTER TABLE audit_outbox ENABLE TRIGGER fits_the_log")
        await connection.close()


@pytest.mark.parametrize("role", WRITERS)
async def test_no_role_can_write_an_event_that_the_log_cannot_take(
    database: OpenDatabase, clean_postgres: EmbeddedPostgres, role: str
) -> None:
    connection = await SignedConnection.opened(clean_postgres.urls[role], BANK_B)
    tenant = "NULL" if role == "pool" else "'bank-b'"
    try:
        for moment, kind, body in BAD.values():
            with pytest.raises(asyncpg.CheckViolationError, match="the audit log cannot take this event"):
                await insert(connection, moment, kind, body, tenant)
        await insert(connection, "now()", "test.event", "'{\"fine\": true}'", tenant)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO audit_outbox (occurred_at, kind, body, written_at) VALUES (now(), 'a.b', '{}', now())"
            )
    finally:
        await connection.close()
    assert await Sequencer(database("worker")).run_once() == 1


@pytest.mark.parametrize("role", [role for role in WRITERS if role != "worker"])
async def test_no_door_can_write_usage_or_the_entries_of_the_sequencer(
    database: OpenDatabase, clean_postgres: EmbeddedPostgres, role: str
) -> None:
    usage = """'{"request_id": "r", "model_id": "m", "outcome": "completed", "input_tokens": 1, "cost_picos": "1",
        "cached_input_tokens": 0, "output_tokens": 1, "settled_at": "2026-01-01T00:00:00+00:00"}'"""
    connection = await SignedConnection.opened(clean_postgres.urls[role], BANK_B)
    try:
        for kind in ("usage.recorded", "audit.event_set_aside"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await insert(connection, "now()", kind, usage, "NULL" if role == "pool" else "'bank-b'")
    finally:
        await connection.close()


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_an_event_that_waits_and_does_not_fit_is_set_aside_and_the_log_says_so(
    database: OpenDatabase, clean_postgres: EmbeddedPostgres, unchecked: object, bad: tuple[str, str, str]
) -> None:
    moment, kind, body = bad
    attacker = await SignedConnection.opened(clean_postgres.urls["worker"], BANK_B)
    await record(database("operator"), BANK_A)
    await insert(attacker, moment, kind, body, "'bank-b'")
    await record(database("operator"), BANK_A)
    assert await Sequencer(database("worker")).run_once() == 3
    log = await whole_log(database("regulator"))
    assert verify_chain(log) is None
    assert [entry.tenant_id for entry in log] == ["bank-a", "bank-a", "bank-b"]
    said = orjson.loads(log[-1].entry)
    assert said["kind"] == "audit.event_set_aside"
    [aside] = await attacker.fetch("SELECT outbox_id, content, sha256, reason FROM audit_quarantine")
    await attacker.close()
    assert said["body"] == {
        "outbox_id": aside["outbox_id"],
        "sha256": hashlib.sha256(aside["content"].encode()).hexdigest(),
        "reason": aside["reason"],
    }
    assert aside["sha256"].hex() == said["body"]["sha256"]
    assert await Sequencer(database("worker")).run_once() == 0


async def test_an_entry_that_only_postgres_refuses_is_set_aside_alone(database: OpenDatabase) -> None:
    """A check that is newer than the event stands for every fault that nobody has thought of."""
    owner = await database("owner").connect()
    await owner.execute("ALTER TABLE audit_entry ADD CONSTRAINT newer CHECK (entry NOT LIKE '%unlucky%') NOT VALID")
    try:
        for _ in range(2):
            await record(database("operator"), BANK_A)
            async with database("operator").across_tenants() as session:
                await append(session, kind="test.unlucky", tenant_id=BANK_B, actor=None, body={})
        assert await Sequencer(database("worker")).run_once() == 4
    finally:
        await owner.execute("ALTER TABLE audit_entry DROP CONSTRAINT newer")
        await owner.close()
    log = await whole_log(database("regulator"))
    assert verify_chain(log) is None
    contents = [orjson.loads(entry.entry) for entry in log]
    assert [each["kind"] for each in contents] == ["test.event"] * 2 + ["audit.event_set_aside"] * 2
    assert {each["body"].get("reason") for each in contents[2:]} == {"Postgres refuses its entry (23514)"}


async def test_a_database_that_is_full_sets_nothing_aside(database: OpenDatabase) -> None:
    owner = await database("owner").connect()
    await owner.execute("""
        CREATE FUNCTION public.no_space() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
        AS $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$
    """)
    await owner.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION public.no_space()"
    )
    await record(database("operator"), BANK_A)
    try:
        with pytest.raises(Exception, match="no space left"):
            await Sequencer(database("worker")).run_once()
    finally:
        await owner.execute("DROP TRIGGER full_disk ON audit_entry")
        await owner.execute("DROP FUNCTION public.no_space()")
        await owner.close()
    assert await Sequencer(database("worker")).run_once() == 1
    async with database("worker").across_tenants() as session:
        assert (await session.execute(text("SELECT count(*) FROM audit_quarantine"))).scalar_one() == 0


async def test_the_database_takes_the_largest_entry_and_no_larger_one(
    database: OpenDatabase, clean_postgres: EmbeddedPostgres
) -> None:
    """Separators count: jsonb writes a space behind each, canonical JSON does not."""
    connection = await SignedConnection.opened(clean_postgres.urls["operator"], BANK_B)

    def body(last: int) -> dict[str, Any]:
        return {"list": [[], {}, {"é": '\u0001"'}, *range(9000)], "text": "x" * last}

    async def write(last: int) -> None:
        await insert(connection, "now()", "test.event", f"'{orjson.dumps(body(last)).decode()}'", "'bank-b'")

    try:
        low, high = 1, 65_535
        while high - low > 1:
            middle = (low + high) // 2
            try:
                await write(middle)
                low = middle
            except asyncpg.CheckViolationError:
                high = middle
    finally:
        await connection.close()
    await Sequencer(database("worker")).run_once()
    log = await whole_log(database("regulator"))
    largest = max(len(entry.entry.encode()) - len(str(entry.seq)) + len(str(2**53 - 1)) for entry in log)
    assert largest == 65_535
