"""A replica whose spool is damaged: it starts, refuses with 503, keeps the file, and serves again once repaired."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import ClientConnectionError, ClientSession
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from scripted_engine import ScriptedEngine
from sector import ReplicaProcesses, Sector
from waiting import until

from finpool.installation.process.components import INFERENCE, WORKER
from finpool.metering.spool.file import FILE_NAME
from finpool.metering.spool.repair import repair

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
PAGE_BYTES = 4096


async def chat(client: AsyncOpenAI) -> ChatCompletion:
    return await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)


async def answer_of(replica: ReplicaProcesses, path: str, key: str | None = None) -> tuple[int, str]:
    """Wait until the door answers; return the status and the body."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with ClientSession(headers=headers) as session:

        async def answer() -> tuple[int, str] | None:
            assert replica.runs(INFERENCE), replica.log()
            with suppress(ClientConnectionError):
                async with session.get(f"{replica.url}{path}") as response:
                    return response.status, await response.text()
            return None

        return await until(answer, "the door answers", pause_seconds=0.05)


def damage(path: Path) -> bytes:
    """Overwrite the page of the records; returns what the file is then."""
    content = bytearray(path.read_bytes())
    at = content.index(b'"outcome"') // PAGE_BYTES * PAGE_BYTES
    content[at : at + PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(content)
    return bytes(content)


async def test_a_replica_with_a_damaged_spool_refuses_keeps_it_and_serves_again_once_repaired(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses], engine: ScriptedEngine
) -> None:
    _, key = await sector.add_tenant("bank-a", 10_000_000)
    replica = add_replica("one")
    await replica.ready()
    path = replica.settings.spool_path / FILE_NAME
    async with replica.client(key) as client:
        await chat(client)
        await sector.settled("bank-a")
        # Not recorded any more: the damage below hits records that only the spool holds.
        replica.end(WORKER, signal.SIGTERM)
        await chat(client)
        replica.end(INFERENCE, signal.SIGTERM)
        damaged = damage(path)
        replica.start(INFERENCE)
        replica.start(WORKER)

        assert (await answer_of(replica, "/healthz"))[0] == 200
        status, told = await answer_of(replica, "/readyz")
        assert (status, "Not ready: spool." in told) == (503, True)
        with pytest.raises(openai.InternalServerError) as refused:
            await chat(client)
        assert (refused.value.status_code, refused.value.code) == (503, "spool_unavailable")
        usage = "/v1/organization/usage/completions?start_time=1767225600"
        assert (await answer_of(replica, usage, key))[0] == 200
        assert path.read_bytes() == damaged
        log = replica.log()
        assert "finpool spool check, export and repair" in log

        made = await asyncio.to_thread(repair, replica.settings.spool_path)
        assert made is not None
        assert made.found.faults
        await replica.ready()
        await chat(client)
    records = await recorded(sector, 2)
    assert [each["outcome"] for each in records] == ["completed", "completed"]
    assert [each["usage_seq"] for each in records] == [1, 2]


async def recorded(sector: Sector, count: int) -> list[dict[str, Any]]:
    """Wait until as many requests are recorded."""

    async def all_recorded() -> list[dict[str, Any]] | None:
        records = await sector.usage("bank-a")
        return records if len(records) >= count else None

    return await until(all_recorded, f"{count} requests are recorded", pause_seconds=0.05)
