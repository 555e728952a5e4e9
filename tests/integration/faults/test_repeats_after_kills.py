"""A gateway dies with a request that has an `Idempotency-Key`: its retry gets the answer, or runs anew."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from typing import Any

import aiohttp
import asyncpg
import pytest
from idempotent_requests import Answer, ask
from scripted_engine import ScriptedEngine
from sector import ReplicaProcesses, Sector
from waiting import until

from finpool.installation.process.components import INFERENCE
from finpool.kernel.settings import Settings
from finpool.metering.spool.file import FILE_NAME

COST_MICROS = 10 + 2 * 5
GONE = (aiohttp.ClientError, TimeoutError)


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The schema's owner, who sees the rows of bank A."""
    connection = await asyncpg.connect(settings.database_url("owner"))
    await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    yield connection
    await connection.close()


@pytest.fixture
async def key(sector: Sector) -> str:
    _, secret = await sector.add_tenant("bank-a", 1_000_000)
    return secret


async def answer_of(replica: ReplicaProcesses, key: str) -> Answer:
    """Ask until the first request has ended; returns the answer."""

    async def answered() -> Answer | None:
        found = await ask(replica, key, "k")
        return found if found.status == 200 else None

    return await until(answered, "the retry gets an answer", pause_seconds=0.05)


async def killed_while_asked(replica: ReplicaProcesses, asking: "asyncio.Task[Any]") -> None:
    replica.end(INFERENCE, signal.SIGKILL)
    with suppress(*GONE):
        await asking
    assert asking.exception() is not None


async def test_a_gateway_that_dies_before_its_answer_is_kept_leaves_the_key_to_the_retry(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses], engine: ScriptedEngine, key: str
) -> None:
    one, two = add_replica("one"), add_replica("two")
    for replica in (one, two):
        await replica.ready()
    engine.may_begin.clear()
    asking = asyncio.create_task(ask(one, key, "k"))
    await until(lambda: engine.under_way, "the engine works")
    await killed_while_asked(one, asking)
    assert (await ask(two, key, "k")).status == 409  # The claim is held until its run is known to be dead.
    one.start(INFERENCE)
    await one.ready()
    engine.may_begin.set()
    answer = await answer_of(two, key)
    assert "idempotent-replayed" not in answer.headers
    assert (await answer_of(one, key)).body == answer.body
    account = await sector.settled("bank-a")
    records = await sector.usage("bank-a")
    assert sorted(each["outcome"] for each in records) == ["completed", "crashed"]
    assert account.posted_micros == COST_MICROS + sum(
        int(each["cost_picos"]) // 10**6 for each in records if each["outcome"] == "crashed"
    )


async def test_a_claim_of_a_replica_that_never_comes_back_ends_by_itself(
    add_replica: Callable[..., ReplicaProcesses],
    engine: ScriptedEngine,
    key: str,
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    one, two = add_replica("one"), add_replica("two")
    for replica in (one, two):
        await replica.ready()
    engine.may_begin.clear()
    asking = asyncio.create_task(ask(one, key, "k"))
    await until(lambda: engine.under_way, "the engine works")
    await killed_while_asked(one, asking)
    held = await owner.fetchval("SELECT held_until - now() FROM idempotent_request")
    assert held.total_seconds() <= 30
    # That time passes.
    await owner.execute("UPDATE idempotent_request SET claimed_at = now() - interval '1 h', held_until = now()")
    engine.may_begin.set()
    assert (await ask(two, key, "k")).status == 200


async def test_a_gateway_that_dies_between_answer_and_settlement_bills_exactly_the_kept_answer(
    sector: Sector,
    add_replica: Callable[..., ReplicaProcesses],
    engine: ScriptedEngine,
    key: str,
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    one = add_replica("one")
    await one.ready()
    engine.may_begin.clear()
    asking = asyncio.create_task(ask(one, key, "k"))
    await until(lambda: engine.under_way, "the engine works")
    async with owner.transaction():
        # The answer cannot be stored while this row is locked, and the last mark is on disk by then.
        await owner.execute("SELECT 1 FROM idempotent_request FOR UPDATE")
        engine.may_begin.set()
        await until(lambda: _waits_for_the_row(owner), "the gateway stores the answer")
        with closing(sqlite3.connect(one.settings.spool_path / FILE_NAME, timeout=10, isolation_level=None)) as spool:
            spool.execute("BEGIN IMMEDIATE")  # From now on nothing is settled.
            await owner.execute("COMMIT")
            await until(lambda: owner.fetchval("SELECT answer IS NOT NULL FROM idempotent_request"), "it is stored")
            await killed_while_asked(one, asking)
            spool.execute("ROLLBACK")
            await owner.execute("BEGIN")
    one.start(INFERENCE)
    await one.ready()
    answer = await ask(one, key, "k")
    assert (answer.status, answer.headers["idempotent-replayed"]) == (200, "true")
    account = await sector.settled("bank-a")
    (record,) = await sector.usage("bank-a")
    assert (record["outcome"], record["input_tokens"], record["output_tokens"]) == ("crashed", 10, 5)
    assert account.posted_micros == COST_MICROS
    assert len(engine.bodies) == 1


async def _waits_for_the_row(owner: "asyncpg.Connection[asyncpg.Record]") -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return int(await owner.fetchval(query)) > 0


async def test_an_answer_outlives_its_replica(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses], engine: ScriptedEngine, key: str
) -> None:
    one, two = add_replica("one"), add_replica("two")
    for replica in (one, two):
        await replica.ready()
    engine.pause_seconds = 0.05
    with pytest.raises(TimeoutError):  # The client leaves, and nobody is there when the answer is complete.
        await ask(one, key, "k", total_seconds=0.15)
    await until(lambda: engine.bodies, "the engine was asked")

    async def settled() -> bool:
        return [each["outcome"] for each in await sector.usage("bank-a")] == ["completed"]

    await until(settled, "the answer is settled without its client")
    one.end(INFERENCE, signal.SIGKILL)
    answer = await ask(two, key, "k")
    assert (answer.status, answer.headers["idempotent-replayed"]) == (200, "true")
    assert len(engine.bodies) == 1
    assert len(await sector.usage("bank-a")) == 1
