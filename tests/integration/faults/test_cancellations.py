"""Calls are cancelled at random moments: each resolves once at any step, and nothing stays held."""

import asyncio
import random
import sqlite3
from contextlib import suppress

import pytest

from finpool.billing.contract.schemas import Quote
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import Tier
from finpool.gateway.call.admission import Admitted
from finpool.gateway.call.call import Call
from finpool.gateway.call.lifecycle import serve
from finpool.gateway.call.open_calls import OpenCalls
from finpool.gateway.call.prompt_counter import PromptCounter
from finpool.gateway.errors import QueueRefusal
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.queue import FairQueue
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import ModelId, ProjectId, ReplicaId, RequestId, TenantId, new_id
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.meter.service import Metering
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.file import FILE_NAME
from finpool.metering.spool.spool import Spool
from finpool.quota.grant.share_table import Holder
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.limit.service import write_limits
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota
from finpool.quota.schemas import Limits, Rate, operator_limit
from finpool.serving.backend.service import Backends
from finpool.serving.schemas import Operation

MODEL = ModelId("smollm2-135m-instruct")
BANK = TenantId("bank-a")
RUNS = 200
QUOTE = Quote("v1", MODEL, "CNY", 1_000_000, 500_000, 2_000_000, Tier.STANDARD)


class Path:
    """The inference path behind the routes, in this process, on real Postgres and the scripted engine."""

    def __init__(self, database, settings, spool, directory):
        self.model = Catalogue.load(default_directory()).get(MODEL)
        self.spool = spool
        self.directory = directory
        self.recorder = Recorder(database("worker"), directory, ReplicaId("one"))
        self.limits = LimitDirectory()
        holder = Holder(ReplicaId("one"), spool.spool_id, "run_one")
        self.allotments = Allotments(
            database("inference"), holder, spool.return_lease, share_of_rest=0.01, idle_seconds=0.001
        )
        self.quota = Quota(self.limits, self.allotments)
        self.shares = FairScheduler(2)
        self.queue = FairQueue(self.shares, waiting_max=6, wait_seconds_max=0.2)
        self.backends = Backends(settings)
        self.calls = OpenCalls()

    def call(self, key_id):
        actor = Actor(Audience.TENANT, key_id, Role.TENANT_OWNER, BANK, ProjectId("main"))
        admitted = Admitted(
            operation=Operation.CHAT,
            request_id=RequestId(new_id("req")),
            actor=actor,
            model=self.model,
            quote=QUOTE,
            policy_version=1,
            streamed=True,
            engine_body={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5},
            input_tokens_bound=300,
            output_tokens_bound=10,
        )
        return Call(
            admitted,
            quota=self.quota,
            metering=Metering(self.spool),
            queue=self.queue,
            backends=self.backends,
            counter=PromptCounter(self.backends),
            open_calls=self.calls,
        )

    def intents(self):
        connection = sqlite3.connect(self.directory / FILE_NAME)
        try:
            return connection.execute("SELECT request_id FROM intent").fetchall()
        finally:
            connection.close()

    def under_way(self):
        """Count the calls that hold a place of the limited concurrency."""
        held = self.allotments.rates._allotments.get(BANK, {}).values()
        return sum(each.used(0.0) for each in held if each.key.rate is Rate.CONCURRENCY)

    async def return_everything(self):
        while tasks := list(self.allotments._tasks):
            await asyncio.gather(*tasks)
        self.allotments.leases.drain(None)
        await self.allotments.return_unused()
        while await self.recorder.run_once():
            pass


@pytest.fixture
async def path(database, settings, sector, engine, engine_port, tmp_path):
    directory = tmp_path / "spool"
    spool = Spool(directory, 10**9)
    opened = Path(
        database, settings.model_copy(update={"serve_url": f"http://127.0.0.1:{engine_port}"}), spool, directory
    )
    await opened.backends.start()
    yield opened
    await opened.backends.close()
    opened.recorder.close()
    await spool.close()


async def known_bank(path, sector, database):
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

    def __init__(self, completed):
        self.completed = completed
        self.usage = None

    async def begin(self, rates):
        return None

    async def stream(self, call):
        async for _ in call.chunks():
            pass

    def complete(self, usage):
        self.usage = usage

    def break_off(self, error):
        raise error

    async def end(self, rates):
        self.completed.append(self.usage)


async def serve_one(path, key_id, completed):
    await serve(path.call(key_id), Listener(completed))


async def require_nothing_held(path, sector):
    assert path.shares.in_flight == 0
    assert path.shares.waiting(BANK) == 0
    assert path.under_way() == 0
    assert path.intents() == []
    await path.return_everything()
    account = await sector.account(BANK)
    assert account.pending_micros == 0
    records = await sector.usage(BANK)
    assert account.posted_micros == -(-sum(int(each["cost_picos"]) for each in records) // 1_000_000)
    return records


async def test_calls_cancelled_at_random_moments_leave_nothing_held(path, sector, database, engine, seed):
    chance = random.Random(seed)
    engine.pause_seconds = 0.001
    key_id = await known_bank(path, sector, database)
    completed, tasks = [], []
    for _ in range(RUNS):
        task = asyncio.create_task(serve_one(path, key_id, completed))
        tasks.append(task)
        for _ in range(chance.randint(0, 2)):
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.04), task.cancel)
        await asyncio.sleep(chance.uniform(0, 0.008))
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


async def test_a_spool_that_fails_for_a_while_keeps_no_reservation(path, sector, database, engine, monkeypatch):
    monkeypatch.setattr("finpool.gateway.call.call.RETRY_SECONDS", 0.05)
    key_id = await known_bank(path, sector, database)
    write_group = path.spool._writer._write_group

    def disk_full(writes):
        raise sqlite3.OperationalError("database or disk is full")

    class ListenerOnAFullDisk(Listener):
        def complete(self, usage):
            monkeypatch.setattr(path.spool._writer, "_write_group", disk_full)

    with pytest.raises(SpoolUnavailable):
        await serve(path.call(key_id), ListenerOnAFullDisk([]))
    assert path.intents()
    assert path.under_way() == 1
    monkeypatch.setattr(path.spool._writer, "_write_group", write_group)
    async with asyncio.timeout(10):
        await path.calls.wait_until_none()
    (record,) = await require_nothing_held(path, sector)
    # The client was told that it failed, so it pays nothing.
    assert (record["outcome"], record["output_tokens"], int(record["cost_picos"])) == ("failed", 5, 0)


async def test_the_end_of_the_process_waits_for_calls_that_are_just_being_cancelled(path, sector, database, engine):
    engine.pause_seconds = 1.0
    key_id = await known_bank(path, sector, database)
    task = asyncio.create_task(serve_one(path, key_id, []))
    for _ in range(500):
        if engine.under_way:
            break
        await asyncio.sleep(0.01)
    task.cancel()
    await path.calls.wait_until_none()
    with suppress(asyncio.CancelledError, DomainError):
        await task
    (record,) = await require_nothing_held(path, sector)
    assert record["outcome"] == "aborted"
