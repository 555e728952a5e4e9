"""Calls are cancelled at random moments: each resolves once at any step, and nothing stays held."""

import asyncio
import pathlib
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from inference_path import BANK, InferencePath, OpenDatabase
from scripted_engine import ScriptedEngine
from sector import Sector
from waiting import until

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.call.call import Call
from finpool.gateway.call.lifecycle import Rates, serve
from finpool.gateway.errors import QueueRefusal
from finpool.kernel.errors import DomainError
from finpool.kernel.settings import Settings
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.spool.spool import Spool
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import Limits, operator_limit

RUNS = 200

NO_RECORD_FITS = "CREATE TRIGGER full BEFORE INSERT ON record BEGIN INSERT INTO nowhere VALUES (1); END"
RECORDS_FIT_AGAIN = "DROP TRIGGER full"
"""With this trigger every record fails as one does on a full disk: the statement cannot be run."""


@pytest.fixture
async def path(
    database: OpenDatabase,
    settings: Settings,
    sector: Sector,
    engine: ScriptedEngine,
    engine_port: int,
    tmp_path: pathlib.Path,
) -> AsyncIterator[InferencePath]:
    directory = tmp_path / "spool"
    spool = Spool(directory, 10**9)
    opened = InferencePath(
        database, settings.model_copy(update={"serve_url": f"http://127.0.0.1:{engine_port}"}), spool, directory
    )
    await opened.backends.start()
    yield opened
    await opened.backends.close()
    opened.recorder.close()
    await spool.close()


async def known_bank(path: InferencePath, sector: Sector, database: OpenDatabase) -> str:
    """Create a bank whose budget suffices and whose concurrency is counted; returns the id of its key."""
    key_id, _ = await sector.add_tenant(BANK, 1_000_000)
    async with database("operator").across_tenants() as session:
        limits = Limits(budget_total_micros=1_000_000, concurrency=RUNS)
        await write_limits(session, BANK, operator_limit(BANK), limits)
    async with database("inference").across_tenants() as session:
        await path.limits.load(session, None)
    return key_id


class Listener:
    """A client that reads the whole answer, and notes what it used once the gateway has told it to the end."""

    def __init__(self, completed: list[TokenUsage]) -> None:
        self.completed = completed
        self.usage = TokenUsage(0, 0, 0)

    async def begin(self, rates: Rates) -> None:
        return None

    async def stream(self, call: Call) -> None:
        async for _ in call.chunks():
            pass

    def complete(self, usage: TokenUsage) -> None:
        self.usage = usage

    def break_off(self, error: DomainError) -> None:
        raise error

    async def end(self, rates: Rates) -> None:
        self.completed.append(self.usage)


async def serve_one(path: InferencePath, key_id: str, completed: list[TokenUsage]) -> None:
    await serve(path.call(key_id), Listener(completed))


async def few_under_way(tasks: list[asyncio.Task[None]], most: int) -> None:
    """Wait until fewer than `most` of the tasks go on."""
    while len(going_on := [each for each in tasks if not each.done()]) >= most:
        await asyncio.wait(going_on, return_when=asyncio.FIRST_COMPLETED)


async def require_nothing_held(path: InferencePath, sector: Sector) -> list[dict[str, Any]]:
    assert path.scheduler.in_flight == 0
    assert path.scheduler.waiting(BANK) == 0
    assert path.under_way() == 0
    assert path.intents() == []
    await path.return_everything()
    account = await sector.account(BANK)
    assert account.pending_micros == 0
    records = await sector.usage(BANK)
    assert account.posted_micros == -(-sum(int(each["cost_picos"]) for each in records) // 1_000_000)
    return records


async def test_calls_cancelled_at_random_moments_leave_nothing_held(
    path: InferencePath, sector: Sector, database: OpenDatabase, engine: ScriptedEngine, seed: int
) -> None:
    chance = random.Random(seed)
    engine.pause_seconds = 0.001
    key_id = await known_bank(path, sector, database)
    completed, tasks = list[TokenUsage](), list[asyncio.Task[None]]()
    for _ in range(RUNS):
        await few_under_way(tasks, chance.randint(2, 12))
        task = asyncio.create_task(serve_one(path, key_id, completed))
        tasks.append(task)
        for _ in range(chance.randint(0, 2)):
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.04), task.cancel)
        if chance.random() < 0.1:
            path.allotments.leases.drain(BANK)
            await path.allotments.return_unused()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await path.calls.wait_until_none()
    unexpected = [each for each in results if not isinstance(each, type(None) | asyncio.CancelledError | QueueRefusal)]
    assert unexpected == []
    records = await require_nothing_held(path, sector)
    # A call cancelled while its settlement was written is completed all the same.
    assert len([each for each in records if each["outcome"] == "completed"]) >= len(completed)
    assert completed
    assert [each for each in results if isinstance(each, asyncio.CancelledError)]


async def test_a_spool_that_fails_for_a_while_keeps_no_reservation(
    path: InferencePath, sector: Sector, database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finpool.gateway.call.call.RETRY_SECONDS", 0.05)
    key_id = await known_bank(path, sector, database)

    class ListenerAtAFailingSpool(Listener):
        def complete(self, usage: TokenUsage) -> None:
            path.change_spool(NO_RECORD_FITS)

    with pytest.raises(SpoolUnavailable):
        await serve(path.call(key_id), ListenerAtAFailingSpool([]))
    assert path.intents()
    assert path.under_way() == 1
    path.change_spool(RECORDS_FIT_AGAIN)
    async with asyncio.timeout(10):
        await path.calls.wait_until_none()
    (record,) = await require_nothing_held(path, sector)
    # The client was told that it failed, so it pays nothing.
    assert (record["outcome"], record["output_tokens"], int(record["cost_picos"])) == ("failed", 5, 0)


async def test_the_end_of_the_process_waits_for_calls_that_are_just_being_cancelled(
    path: InferencePath, sector: Sector, database: OpenDatabase, engine: ScriptedEngine
) -> None:
    engine.pause_seconds = 1.0
    key_id = await known_bank(path, sector, database)
    task = asyncio.create_task(serve_one(path, key_id, []))
    await until(lambda: engine.under_way, "the engine works")
    task.cancel()
    await path.calls.wait_until_none()
    with suppress(asyncio.CancelledError, DomainError):
        await task
    (record,) = await require_nothing_held(path, sector)
    assert record["outcome"] == "aborted"
