"""A model whose engine keeps failing: banks are told at once, the engine is left alone, and it comes back by itself."""

from collections.abc import Coroutine
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank
from skipping_clock import SkippingClock, skip_time

from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
OPEN_SECONDS = 3.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"engine_failures_max": 3, "engine_open_seconds": OPEN_SECONDS})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    """The door's clock, on which a test skips the time for which an engine is left alone."""
    return skip_time(monkeypatch)


def chat(client: AsyncOpenAI) -> Coroutine[Any, Any, ChatCompletion]:
    return client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)


async def tokens_of(client: AsyncOpenAI) -> CompletionUsage:
    usage = (await chat(client)).usage
    assert usage is not None
    return usage


async def fail(bank: ServedBank, client: AsyncOpenAI, times: int) -> openai.APIStatusError:
    for _ in range(times):
        with pytest.raises(openai.APIStatusError) as failed:
            await chat(client)
    return failed.value


@pytest.mark.parametrize("how", [{"refuse_with": 500}, {"refuse_with": 503}, {"break_after": 2}])
async def test_an_engine_that_keeps_failing_is_left_alone_and_comes_back_by_itself(
    bank: ServedBank, clock: SkippingClock, how: dict[str, int]
) -> None:
    key = await bank.add_tenant("bank-a")
    for name, value in how.items():
        setattr(bank.engine, name, value)
    async with bank.client(key) as client:
        await fail(bank, client, 3)
        refused = await fail(bank, client, 1)
        await fail(bank, client, 4)
        assert (refused.status_code, refused.code) == (503, "engine_unavailable")
        assert int(refused.response.headers["retry-after"]) >= 1
        # On a machine that is very busy the time may be over before all five are sent, and one of them tries it.
        asked = len(bank.engine.bodies)
        assert 3 <= asked < 8
        bank.engine.refuse_with = bank.engine.break_after = None

        clock.skip(OPEN_SECONDS)
        answer = await chat(client)
        assert answer.choices[0].message.content
        await chat(client)
    assert (await bank.settled("bank-a")).posted_micros == 2 * (10 + 2 * 5)


async def test_while_one_request_tries_an_engine_that_failed_others_wait_only_for_its_first_token(
    bank: ServedBank, clock: SkippingClock
) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        bank.engine.refuse_with = 500
        await fail(bank, client, 3)
        bank.engine.refuse_with = None
        bank.engine.output_tokens, bank.engine.pause_seconds = 1000, 0.05
        clock.skip(OPEN_SECONDS)
        trial = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, max_tokens=1000)
        await anext(aiter(trial))
        bank.engine.output_tokens, bank.engine.pause_seconds = 5, 0.0
        assert (await tokens_of(client)).completion_tokens == 5
        await trial.close()


async def test_what_is_refused_or_left_does_not_stop_others(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        bank.engine.refuse_with = 400
        for _ in range(6):
            with pytest.raises(openai.BadRequestError):
                await chat(client)
        bank.engine.refuse_with = 429
        await fail(bank, client, 6)
        bank.engine.refuse_with = None
        bank.engine.output_tokens, bank.engine.pause_seconds = 200, 0.02
        for _ in range(4):
            stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
            async for _ in stream:
                break
            await stream.close()
        bank.engine.output_tokens, bank.engine.pause_seconds = 5, 0.0
        assert (await tokens_of(client)).total_tokens == 15
