"""A streamed answer goes out as it comes: chunks that came together go together, and none waits for later ones."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from functools import partial
from typing import Any, Self

from finpool.catalogue.model.schemas import TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import Tier
from finpool.gateway.answer.render import chat_renderer
from finpool.gateway.routes_answers import ModelAnswer, StreamWriter
from finpool.metering.spool.schemas import Outcome
from finpool.quota.schemas import RateStatus

Chunks = list[list[dict[str, Any]]]

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
PART: list[dict[str, Any]] = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]


class ScriptedCall:
    """A call whose engine brings `reads`; one that `floods` has the next ready a turn of the loop after each."""

    def __init__(self, reads: list[Chunks], *, floods: bool) -> None:
        self.reads = reads
        self.floods = floods
        self.arrived = asyncio.Event()
        self.usage = TokenUsage(1, 0, 1)

    @property
    def more_is_here(self) -> bool:
        return self.arrived.is_set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunks]:
        for number, read in enumerate(self.reads):
            if self.floods and number:
                await self.arrived.wait()
            self.arrived.clear()
            if self.floods:
                asyncio.get_running_loop().call_soon(self.arrived.set)
            yield read

    def pass_breaker(self) -> None:
        return None

    async def reserve(self) -> None:
        return None

    record_intent = wait_for_turn = dispatch = reserve

    async def settle(self, outcome: Outcome) -> None:
        return None

    def rates(self) -> dict[str, RateStatus]:
        return {}


async def sent_by(call: Any) -> list[int]:
    """Return how many words each message held."""
    sent: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b"").count(b"word"))

    async def receive() -> Any:
        await asyncio.Event().wait()

    renderer = chat_renderer("req_1", MODEL, 1, Tier.STANDARD, include_usage=False)
    await ModelAnswer(call, partial(StreamWriter, renderer), {})({}, receive, send)
    return sent[1:]


async def test_an_engine_that_is_always_ahead_holds_nothing_back() -> None:
    sent = await sent_by(ScriptedCall([[PART]] * 100, floods=True))
    assert sum(sent) == 100
    assert max(sent) <= 2


async def test_each_part_of_a_slow_engine_goes_out_by_itself_and_an_empty_read_sends_nothing() -> None:
    assert await sent_by(ScriptedCall([[PART], [], [PART, PART], []], floods=False)) == [1, 2, 0]
