"""The engine's reported usage is charged: no estimate in its place, and no cut to the reservation."""

from collections.abc import Coroutine
from typing import Any

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def chat(client: AsyncOpenAI) -> Coroutine[Any, Any, ChatCompletion]:
    return client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)


async def test_an_explicit_usage_of_zero_is_recorded_as_zero_and_not_estimated(bank: ServedBank) -> None:
    bank.engine.input_tokens = bank.engine.output_tokens = 0
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("completed", False)
    assert (record["input_tokens"], record["output_tokens"], int(record["cost_picos"])) == (0, 0, 0)
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_a_final_cost_above_the_reservation_is_charged_in_full(bank: ServedBank) -> None:
    # The bound of this request is a few hundred tokens; an engine that counts more is believed and put into the log.
    bank.engine.input_tokens = 5_000
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        answer = await chat(client)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 5_000
    assert (await bank.settled("bank-a")).posted_micros == 5_000 + 2 * 5
