"""The gateway's queue before the real small engine: banks that ask without end, and one that chats."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from fairness_engine import Profile

from finpool.catalogue.model.engine import EXPRESS_SLOTS
from finpool.catalogue.model.schemas import Model, TokenUsage, service_of
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.queue import FairQueue
from finpool.kernel.ids import RequestId, TenantId, new_id
from finpool.serving.backend.service import Backends
from finpool.serving.schemas import Operation

MODEL_ID = "smollm2-135m-instruct"
CLIENTS = 8
CHATS = 12
Result = TypeVar("Result")
PROMPT = "Tell me something about banks."
LONG_PROMPT = "A bank takes deposits and gives loans. " * 230
"""About 1,900 tokens."""
BYTES_ADDED = 356
"""Bytes that the gateway's bound counts beside the text: the body around it and the template."""


class Load:
    """Requests through a queue to the engine, and their results."""

    def __init__(self, backends: Backends, model: Model, *, fair: bool) -> None:
        self._backends = backends
        self._model = model
        slots = model.engine.slots
        # First come first served is the same queue with one tenant in it.
        scheduler = (
            FairScheduler(slots, express_max=EXPRESS_SLOTS, prefill_bound=model.engine.prefill_bound)
            if fair
            else FairScheduler(slots + EXPRESS_SLOTS)
        )
        self._queue = FairQueue(scheduler, waiting_max=1000, wait_seconds_max=600)
        self._fair = fair
        self.service: Counter[str] = Counter()
        self.tokens = 0

    async def ask(self, tenant: str, output_tokens: int, prompt: str = PROMPT) -> float:
        """Ask once; returns the seconds until the first token."""
        started, first, usage = time.perf_counter(), 0.0, TokenUsage(0, 0, 0)
        queued_as = TenantId(tenant if self._fair else "all")
        bound = LengthBound(len(prompt) + BYTES_ADDED, self._model.output_tokens_default)
        turn = await self._queue.enter(queued_as, bound)
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": output_tokens,
            "ignore_eos": True,
            # llama.cpp tells tenants by it. On vLLM a new one keeps the prompt out of the prefix cache.
            "cache_salt": tenant if self._model.engine.name == "llamacpp" else new_id("req"),
        }
        stream = await self._backends.ask(Operation.CHAT, self._model, body, RequestId(new_id("req")))
        try:
            await stream.begun()
            async for chunks in stream:
                if chunks.usage is None:
                    continue
                now = chunks.usage
                self.service[tenant] += service_of(
                    now.input_tokens - usage.input_tokens, now.output_tokens - usage.output_tokens
                )
                self.tokens += now.output_tokens - usage.output_tokens
                usage = now
                self._queue.use(turn, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
                if usage.output_tokens and not first:
                    first = time.perf_counter() - started
        finally:
            stream.close()
            self._queue.leave(turn, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        return first

    async def without_end(self, tenant: str, output_tokens: int, prompt: str) -> None:
        """Ask again and again."""
        while True:
            await self.ask(tenant, output_tokens, prompt)


async def during(
    load: Load,
    sent: dict[str, int],
    what: Callable[[], Awaitable[Result]],
    *,
    clients: int = CLIENTS,
    prompt: str = PROMPT,
) -> Result:
    """Do something while each tenant keeps some requests of its length before the engine."""
    tasks = [
        asyncio.create_task(load.without_end(tenant, length, prompt))
        for tenant, length in sent.items()
        for _ in range(clients)
    ]
    await asyncio.sleep(5)
    load.service.clear()
    load.tokens = 0
    try:
        return await what()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def chats(load: Load) -> float:
    """Return the median of the seconds to the first token of a tenant that asks now and then."""
    waits = []
    for _ in range(CHATS):
        waits.append(await load.ask("chat", 8))
        await asyncio.sleep(0.3)
    return statistics.median(waits)


async def beside_prompts(backends: Backends, model: Model) -> list[tuple[str, float]]:
    """Return the first token of a chat in seconds: alone, and beside another bank's long prompts; and a long prompt."""
    load = Load(backends, model, fair=True)
    found = [
        ("alone", await chats(load)),
        ("a prompt of 1,900 tokens alone", await load.ask("prompts", 4, LONG_PROMPT)),
    ]
    for clients in (1, 4):
        seconds = await during(load, {"prompts": 4}, partial(chats, load), clients=clients, prompt=LONG_PROMPT)
        found.append((f"beside {clients} of them at a time", seconds))
    return found


async def profile(backends: Backends, model: Model) -> Profile:
    """Measure what a step costs with one and with all sequences, and fit the simulator's engine to it."""
    seconds = {}
    many = model.engine.slots + EXPRESS_SLOTS
    for streams in (1, many):
        load = Load(backends, model, fair=False)
        started = time.perf_counter()
        await asyncio.gather(*(load.ask("profile", 64) for _ in range(streams)))
        seconds[streams] = (time.perf_counter() - started) / 64
    each = max(0.0, (seconds[many] - seconds[1]) / (many - 1))
    return Profile("small engine on this machine", many, seconds[1] - each, each, seconds[1] / 8)
