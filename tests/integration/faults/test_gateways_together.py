"""Two real replicas before one engine: no more than its slots between them, and a bank at both gets no more for it."""

import asyncio
from collections import Counter
from collections.abc import Callable

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from scripted_engine import ScriptedEngine
from sector import ReplicaProcesses, Sector
from waiting import until

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
SLOTS = 4 + 1
CALLERS = 8
SETTLE_ANSWERS = 40
MEASURED_ANSWERS = 150
"""Answers, not seconds: however slow the machine is, as many of them are compared."""

ANSWERS_SECONDS_MAX = 300


async def ask_again_and_again(client: AsyncOpenAI, bank: str, served: Counter[str]) -> None:
    while True:
        await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20)
        served[bank] += 1


async def so_many(served: Counter[str], answers: int) -> None:
    """Wait until so many answers were served."""
    await until(lambda: served.total() >= answers, f"{answers} answers", seconds_max=ANSWERS_SECONDS_MAX)


async def test_two_replicas_fill_no_slot_twice_and_a_bank_at_both_is_served_as_one_at_one(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses], engine: ScriptedEngine
) -> None:
    engine.output_tokens, engine.pause_seconds = 20, 0.02
    keys = {bank: (await sector.add_tenant(bank, 10**9))[1] for bank in ("bank-a", "bank-b")}
    replicas = [add_replica("one"), add_replica("two")]
    for replica in replicas:
        await replica.ready()
    served: Counter[str] = Counter()
    async with (
        replicas[0].client(keys["bank-a"], timeout=60) as a_one,
        replicas[1].client(keys["bank-a"], timeout=60) as a_two,
        replicas[1].client(keys["bank-b"], timeout=60) as b_two,
    ):
        calls = [
            asyncio.create_task(ask_again_and_again(client, bank, served))
            for client, bank in ((a_one, "bank-a"), (a_two, "bank-a"), (b_two, "bank-b"))
            for _ in range(CALLERS)
        ]
        await so_many(served, SETTLE_ANSWERS)
        served.clear()
        engine.under_way_max = 0
        await so_many(served, MEASURED_ANSWERS)
        counted, under_way_max = served.copy(), engine.under_way_max
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert under_way_max <= SLOTS
    # Apart, the one at both would have three times as many.
    assert 0.7 <= counted["bank-a"] / counted["bank-b"] <= 1.4
