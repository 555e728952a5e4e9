"""Inference and worker are killed under load: nothing acknowledged is lost, nothing is counted twice."""

import asyncio
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import openai
from httpx2 import HTTPError
from openai import AsyncOpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam
from scripted_engine import ScriptedEngine
from sector import ReplicaProcesses, Sector
from waiting import until

from finpool.installation.process.components import INFERENCE, WORKER

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
BUDGET_MICROS = 10_000_000
CALLERS = 8
GONE = (openai.APIError, HTTPError)


@dataclass
class Told:
    """What clients were told: tokens by request id, of every answer that arrived whole."""

    whole: dict[str, tuple[int, int]] = field(default_factory=dict)
    aborted: int = 0
    broken: int = 0

    def answered(self, completion_id: str, usage: CompletionUsage | None) -> None:
        request_id = "req_" + completion_id.removeprefix("chatcmpl-")
        assert request_id not in self.whole
        assert usage is not None
        self.whole[request_id] = (usage.prompt_tokens, usage.completion_tokens)


async def plain(client: AsyncOpenAI, told: Told) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20)
    told.answered(answer.id, answer.usage)


async def streamed(client: AsyncOpenAI, told: Told) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=20, stream=True, stream_options={"include_usage": True}
    )
    usage = None
    async for chunk in stream:
        usage = chunk.usage or usage
    told.answered(chunk.id, usage)


async def aborted(client: AsyncOpenAI, told: Told) -> None:
    stream = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20, stream=True)
    async for _ in stream:
        break
    await stream.close()
    told.aborted += 1


async def call_until(stop: asyncio.Event, client: AsyncOpenAI, told: Told, chance: Random) -> None:
    while not stop.is_set():
        call = chance.choices((plain, streamed, aborted), weights=(4, 4, 2))[0]
        try:
            await call(client, told)
        except GONE:
            told.broken += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.05)


async def more_answers(told: Told, more: int) -> None:
    """Wait until so many more answers have arrived whole."""
    enough = len(told.whole) + more
    await until(lambda: len(told.whole) >= enough, f"{more} more answers")


async def kill_rounds(replica: ReplicaProcesses, engine: ScriptedEngine, told: Told, chance: Random) -> None:
    """Kill one or both in the middle of the load, three times, and start them again."""
    for victims in ((INFERENCE,), (WORKER,), (INFERENCE, WORKER)):
        await more_answers(told, chance.randint(10, 40))
        engine.output_tokens = chance.randint(3, 15)
        for victim in victims:
            replica.end(victim, signal.SIGKILL)
        for victim in victims:
            replica.start(victim)
        await replica.ready()
    await more_answers(told, 10)


async def test_what_was_acknowledged_survives_kills_exactly_once(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses], engine: ScriptedEngine, seed: int
) -> None:
    chance = random.Random(seed)
    engine.pause_seconds = 0.01
    _, key = await sector.add_tenant("bank-a", BUDGET_MICROS)
    replica = add_replica("one")
    await replica.ready()
    told, stop = Told(), asyncio.Event()
    async with replica.client(key) as client:
        callers = [asyncio.create_task(call_until(stop, client, told, chance)) for _ in range(CALLERS)]
        await kill_rounds(replica, engine, told, chance)
        stop.set()
        await asyncio.gather(*callers)
    account = await sector.settled("bank-a")
    records = await sector.usage("bank-a")
    recorded = {each["request_id"]: (each["input_tokens"], each["output_tokens"]) for each in records}
    assert len(recorded) == len(records)
    assert told.whole
    assert told.broken
    assert {request: recorded.get(request) for request in told.whole} == told.whole
    outcomes = {each["request_id"]: each["outcome"] for each in records}
    assert {outcomes[request] for request in told.whole} == {"completed"}
    assert len(records) <= len(engine.bodies) + CALLERS * 3
    assert account.posted_micros == -(-sum(int(each["cost_picos"]) for each in records) // 1_000_000)
    assert account.posted_micros <= BUDGET_MICROS
