"""An answer that cannot be kept or settled is told as failed, costs nothing, and leaves its key to the retry."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import asyncpg
import pytest
from idempotent_requests import ask
from served_bank import ServedBank
from waiting import until

from finpool.metering.spool.file import FILE_NAME

NO_RECORD_FITS = "CREATE TRIGGER full BEFORE INSERT ON record BEGIN INSERT INTO nowhere VALUES (1); END"
RECORDS_FIT_AGAIN = "DROP TRIGGER full"
COST_MICROS = 10 + 2 * 5


@pytest.fixture
async def key(bank: ServedBank) -> str:
    return await bank.add_tenant("bank-a")


@pytest.fixture
async def owner(bank: ServedBank) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The schema's owner, who sees the rows of bank A."""
    connection = await asyncpg.connect(bank.settings.database_url("owner"))
    await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    yield connection
    await connection.execute("GRANT UPDATE ON idempotent_request TO finpool_inference")
    await connection.close()


def change_spool(bank: ServedBank, statement: str) -> None:
    with closing(sqlite3.connect(bank.settings.spool_path / FILE_NAME, timeout=10)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_settled_is_not_kept(
    bank: ServedBank, key: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finpool.gateway.call.call.RETRY_SECONDS", 0.05)
    change_spool(bank, NO_RECORD_FITS)
    failed = await ask(bank, key, "k", stream=stream)
    assert b"spool_unavailable" in failed.body
    change_spool(bank, RECORDS_FIT_AGAIN)
    anew = await ask(bank, key, "k", stream=stream)
    assert (anew.status, anew.headers.get("idempotent-replayed")) == (200, None)
    assert (await bank.settled("bank-a")).posted_micros == COST_MICROS
    assert sorted(each["outcome"] for each in await bank.usage("bank-a")) == ["completed", "failed"]


async def test_an_answer_that_the_database_refuses_is_told_as_failed_and_costs_nothing(
    bank: ServedBank, key: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    bank.engine.may_begin.clear()
    asking = asyncio.create_task(ask(bank, key, "k"))
    await until(lambda: bank.engine.under_way, "the engine works")
    await owner.execute("REVOKE UPDATE ON idempotent_request FROM finpool_inference")
    bank.engine.may_begin.set()
    failed = await asking
    assert (failed.status, failed.error["code"]) == (503, "idempotency_unavailable")
    await owner.execute("GRANT UPDATE ON idempotent_request TO finpool_inference")
    assert (await ask(bank, key, "k")).status == 200
    assert (await bank.settled("bank-a")).posted_micros == COST_MICROS


async def test_a_request_that_lost_its_key_gives_no_second_answer(
    bank: ServedBank, key: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    bank.engine.may_begin.clear()
    slow = asyncio.create_task(ask(bank, key, "k"))
    await until(lambda: bank.engine.under_way == 1, "the first one runs")
    # Its run was not heard of for too long, as without a database for half a minute.
    silent = "run_id = 'silent', claimed_at = now() - interval '1 h', held_until = now()"
    await owner.execute(f"UPDATE idempotent_request SET {silent}")
    retry = asyncio.create_task(ask(bank, key, "k"))
    await until(lambda: bank.engine.under_way == 2, "the retry runs")
    bank.engine.may_begin.set()
    lost, answer = await slow, await retry
    assert (lost.status, lost.error["code"], answer.status) == (503, "idempotency_unavailable", 200)
    assert (await ask(bank, key, "k")).body == answer.body
    assert (await bank.settled("bank-a")).posted_micros == COST_MICROS
