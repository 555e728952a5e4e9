"""An engine process that is killed: its answers break off and cost nothing, other models go on, and it comes back."""

import asyncio
import os
import signal
from typing import Any

import pytest
from pool_catalogue import REAL, SLOTS, WORKS
from pool_process import READY_SECONDS_MAX
from shared_pool import Pool
from waiting import until

from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import Operation

QUESTION = [{"role": "user", "content": "Tell me about Paris."}]


async def read_on(backends: Backends, model: Model, begun: asyncio.Event, output_tokens: int = 400) -> int:
    """Read an answer to its end; returns its tokens."""
    body: dict[str, Any] = {"messages": QUESTION, "max_tokens": output_tokens, "ignore_eos": True}
    stream = await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))
    tokens = 0
    try:
        await stream.begun()
        async for chunks in stream:
            if chunks.usage is not None:
                tokens = chunks.usage.output_tokens
                if tokens:
                    begun.set()
    finally:
        stream.close()
    return tokens


async def test_a_killed_engine_breaks_off_its_own_answers_only_and_comes_back(pool: Pool, backends: Backends) -> None:
    killed, other = pool.models.get(WORKS), pool.models.get(REAL)
    # Other tests bring a second replica, which may be ending.
    await until(lambda: len(pool.replicas(WORKS)) == 1, "one replica", seconds_max=READY_SECONDS_MAX, pause_seconds=0.5)
    (replica,) = pool.replicas(WORKS)
    other_began, *began = [asyncio.Event() for _ in range(SLOTS + 1)]
    untouched = asyncio.create_task(read_on(backends, other, other_began, 200))
    await other_began.wait()
    broken = [asyncio.create_task(read_on(backends, killed, each)) for each in began]
    await asyncio.gather(*(each.wait() for each in began))

    os.kill(replica.pid, signal.SIGKILL)
    for task in broken:
        with pytest.raises(EngineFailed):
            await task
    assert await untouched == 200
    assert await read_on(backends, other, asyncio.Event(), 4) == 4

    await until(lambda: backends.ready(killed), "the engine is back", seconds_max=READY_SECONDS_MAX, pause_seconds=0.5)
    assert await read_on(backends, killed, asyncio.Event(), 4) == 4
