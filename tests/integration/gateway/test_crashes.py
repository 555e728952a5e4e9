"""What survives when processes and the database do not."""

import asyncio
import contextlib
import sqlite3

import asyncpg
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank
from sqlalchemy.exc import DBAPIError

from finpool.apps.inference import InferenceDoor
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import ReplicaId
from finpool.metering.errors import SpoolLocked
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.file import FILE_NAME
from finpool.metering.spool.schemas import Intent, Outcome, Settlement, encode
from finpool.metering.spool.spool import Spool

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


async def chat(client: AsyncOpenAI) -> ChatCompletion:
    return await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)


async def repeat(client: AsyncOpenAI, times: int) -> None:
    for _ in range(times):
        await chat(client)


def intent(request_id: str, lease_id: str, tenant_id: str = "bank-a") -> Intent:
    return Intent(
        request_id=request_id,
        tenant_id=tenant_id,
        project_id="main",
        key_id="key",
        model_id=MODEL,
        weights_sha256="0" * 64,
        price_version="v",
        currency="CNY",
        input_picos=1_000_000,
        cached_input_picos=1_000_000,
        output_picos=2_000_000,
        policy_version=1,
        lease_ids=(lease_id,),
        streamed=True,
        started_at="2026-01-01T00:00:00+00:00",
    )


async def lease_of(bank: ServedBank, tenant_id: str) -> str:
    async with bank.worker.across_tenants() as session:
        connection = await session.connection()
        query = "SELECT lease_id FROM lease WHERE tenant_id = $1 ORDER BY opened_at DESC LIMIT 1"
        lease_id: str = (await connection.exec_driver_sql(query, (tenant_id,))).scalar_one()
        return lease_id


async def test_a_request_that_was_running_at_a_crash_is_settled_at_its_last_mark(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
    lease_id = await lease_of(bank, "bank-a")
    # A second writer leaves behind what a killed process would: an intent with a mark and no settlement.
    with sqlite3.connect(bank.settings.spool_path / FILE_NAME) as spool:
        killed = encode(intent("req_killed", lease_id))
        spool.execute("INSERT INTO intent VALUES (?, ?, 30, 0, 7)", ("req_killed", killed))
    spool.close()
    await bank.restart()
    account = await bank.settled("bank-a")
    _, record = await bank.usage("bank-a")
    assert (record["request_id"], record["outcome"], record["estimated"]) == ("req_killed", "crashed", True)
    assert (record["input_tokens"], record["output_tokens"]) == (30, 7)
    assert account.posted_micros == 20 + 30 + 2 * 7


async def test_a_killed_process_leaves_no_lease_behind(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
    lease_id = await lease_of(bank, "bank-a")
    # The lease is open in the database and in no memory, as after SIGKILL.
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    await bank.settled("bank-a")
    async with owner.transaction():
        await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', true)")
        await owner.execute("UPDATE lease SET closed_at = NULL, outcome = NULL WHERE lease_id = $1", lease_id)
        await owner.execute("UPDATE budget SET pending_picos = (SELECT granted_picos - spent_picos FROM lease)")
    await owner.close()
    assert (await bank.account("bank-a")).pending_micros > 0
    await bank.restart()
    assert (await bank.settled("bank-a")).posted_micros == 20


async def test_two_processes_cannot_serve_with_one_spool(bank: ServedBank) -> None:
    with pytest.raises(SpoolLocked):
        Spool(bank.settings.spool_path, bank.settings.spool_bytes_max)


async def test_an_old_copy_of_a_spool_is_not_served_with(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    path = bank.settings.spool_path / FILE_NAME
    async with bank.stopped():
        copy = path.read_bytes()
    async with bank.client(key) as client:
        await chat(client)
    await bank.settled("bank-a")
    async with bank.stopped():
        newest = path.read_bytes()
        path.write_bytes(copy)
        # Requests that ran when it was copied: settled, they would take numbers that count as recorded.
        with sqlite3.connect(path) as spool:
            for number in range(3):
                body = encode(intent(f"req_{number}", "lease"))
                spool.execute("INSERT INTO intent VALUES (?, ?, 30, 0, 7)", (f"req_{number}", body))
        spool.close()
        for _ in range(2):  # The supervisor of the process starts it again.
            with pytest.raises(ConfigurationError, match="older than its records"):
                async with InferenceDoor(bank.settings).open():
                    pass
        path.write_bytes(newest)


async def test_a_record_that_cannot_be_recorded_is_named_and_what_is_before_it_gets_through(
    bank: ServedBank, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
        with sqlite3.connect(bank.settings.spool_path / FILE_NAME) as spool:
            lost = Settlement(intent("req_lost", "no-lease"), Outcome.ABORTED, 1, 0, 1, False, "2026-01-01T00:00:00Z")
            spool.execute("INSERT INTO record (kind, body) VALUES ('settlement', ?)", (encode(lost),))
        spool.close()
        await chat(client)
    recorder = Recorder(bank.worker, bank.settings.spool_path, ReplicaId("local"))
    for _ in range(5):
        with contextlib.suppress(LookupError, DBAPIError):
            await recorder.run_once()
    recorder.close()
    assert [each["outcome"] for each in await bank.usage_recorded("bank-a")] == ["completed"]
    assert "a record cannot be recorded" in capsys.readouterr().out


async def test_a_full_spool_refuses_new_requests_and_serves_again_once_recorded(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    bank.settings.spool_path.mkdir(exist_ok=True)
    async with bank.stopped():
        bank.settings = bank.settings.model_copy(update={"spool_bytes_max": 24_576})
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await repeat(client, 100)
        assert (raised.value.status_code, raised.value.code) == (503, "spool_unavailable")
        await bank.settled("bank-a")
        await chat(client)


async def test_a_database_that_is_gone_stops_new_leases_but_not_what_is_leased(bank: ServedBank) -> None:
    # The lease is a tenth of this, which covers short calls and no long one.
    key = await bank.add_tenant("bank-a", budget_total_micros=20_000)
    async with bank.client(key) as client:
        await chat(client)
        await bank.leases_fail()
        await chat(client)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(model=MODEL, messages=HELLO * 800, max_tokens=1024, n=4)
        assert raised.value.code == "quota_unavailable"


async def test_usage_is_recorded_once_however_often_the_recorder_runs(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await asyncio.gather(*(chat(client) for _ in range(5)))
    recorders = [Recorder(bank.worker, bank.settings.spool_path, ReplicaId("local")) for _ in range(3)]
    await asyncio.gather(*(each.run_once() for each in recorders for _ in range(3)))
    for each in recorders:
        each.close()
    assert len(await bank.usage("bank-a")) == 5
    assert (await bank.settled("bank-a")).posted_micros == 5 * 20
