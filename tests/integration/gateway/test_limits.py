"""Limits as they hold on the inference path."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def chat(client: AsyncOpenAI, **options: Any) -> Coroutine[Any, Any, ChatCompletion]:
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 5, **options})


async def outcomes(
    calls: Iterable[Coroutine[Any, Any, ChatCompletion]],
) -> tuple[list[ChatCompletion], list[openai.RateLimitError]]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    served = [each for each in results if not isinstance(each, BaseException)]
    refused = [each for each in results if isinstance(each, openai.RateLimitError)]
    assert len(served) + len(refused) == len(results), results
    return served, refused


async def is_served(client: AsyncOpenAI) -> bool:
    try:
        await chat(client)
    except openai.RateLimitError:
        return False
    return True


async def test_a_budget_too_small_is_refused_and_tells_the_client_not_to_retry(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", budget_total_micros=10)
    async with bank.client(key) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await chat(client)
    assert raised.value.code == "insufficient_quota"
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert bank.engine.bodies == []


async def test_a_tenant_without_limits_has_no_budget(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", budget_total_micros=0)
    async with bank.client(key) as client:
        with pytest.raises(openai.RateLimitError):
            await chat(client)


async def test_parallel_calls_never_pass_the_budget(bank: ServedBank) -> None:
    # Each call costs 20 micros in the end, but may cost about 400: ten such reservations do not fit into 1,000.
    key = await bank.add_tenant("bank-a", budget_total_micros=1_000)
    bank.engine.pause_seconds = 0.05
    async with bank.client(key) as client:
        served, refused = await outcomes([chat(client) for _ in range(50)])
    assert served
    assert refused
    account = await bank.settled("bank-a")
    assert account.posted_micros == 20 * len(served)
    assert account.posted_micros <= 1_000


async def test_the_budget_can_be_spent_to_the_last_request_that_fits(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", budget_total_micros=1_000)
    served = 0
    async with bank.client(key) as client:
        while served < 100 and await is_served(client):
            served += 1
    account = await bank.settled("bank-a")
    assert account.posted_micros == 20 * served
    # The rest is less than one more request may cost: 256 + its bytes of input, and 5 tokens of output.
    assert 1_000 - account.posted_micros < 256 + 200 + 2 * 5


async def test_a_prompt_is_counted_exactly_when_its_bound_does_not_fit(bank: ServedBank) -> None:
    # The bound is the body's bytes, about 360 tokens; the prompt is 10 tokens, and the answer costs at most 10 micros.
    bank.engine.counts = True
    key = await bank.add_tenant("bank-a", budget_total_micros=60)
    async with bank.client(key) as client:
        served = 0
        while await is_served(client):
            served += 1
    assert served == 3
    assert (await bank.settled("bank-a")).posted_micros == 60
    # A limit that not even the shortest prompt would fit refuses without a call of the engine.
    assert bank.engine.counted == served


async def test_a_prompt_far_beyond_the_context_is_not_counted(bank: ServedBank) -> None:
    """A tokenizer would take seconds for it, at the cost of nobody."""
    bank.engine.counts = True
    key = await bank.add_tenant("bank-a", budget_total_micros=60)
    long: Any = [{"role": "user", "content": "<|im_start|>" * 60_000}]
    async with bank.client(key) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="smollm2-135m-instruct", messages=long, max_tokens=5)
    assert bank.engine.counted == 0


async def test_tokens_per_minute_count_the_prompt_exactly_when_its_bound_does_not_fit(bank: ServedBank) -> None:
    bank.engine.counts = True
    key = await bank.add_tenant("bank-a", tokens_per_minute=30)
    async with bank.client(key) as client:
        served, refused = await outcomes([chat(client) for _ in range(4)])
    assert (len(served), len(refused)) == (2, 2)


async def test_requests_per_minute_hold_and_say_when_to_come_back(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", requests_per_minute=3)
    async with bank.client(key) as client:
        served, refused = await outcomes([chat(client) for _ in range(8)])
        assert (len(served), len(refused)) == (3, 5)
        headers = refused[0].response.headers
    assert refused[0].code == "rate_limit_exceeded"
    assert 0 < int(headers["retry-after-ms"]) <= 60_001
    assert "x-should-retry" not in headers


async def test_tokens_per_minute_count_what_was_used_and_not_what_was_reserved(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", tokens_per_minute=700)
    async with bank.client(key) as client:
        for _ in range(4):
            response = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=5)
        assert response.headers["x-ratelimit-limit-tokens"] == "700"
        with pytest.raises(openai.RateLimitError) as raised:
            await chat(client, max_tokens=600)
    assert raised.value.response.headers["x-should-retry"] == "false"


async def test_concurrency_holds_and_comes_back(bank: ServedBank) -> None:
    bank.engine.pause_seconds = 0.05
    key = await bank.add_tenant("bank-a", concurrency=2)
    async with bank.client(key) as client:
        for _ in range(2):
            served, refused = await outcomes([chat(client) for _ in range(5)])
            assert (len(served), len(refused)) == (2, 3)
    assert refused[0].code == "rate_limit_exceeded"


async def test_a_lowered_limit_acts_within_two_seconds_on_what_is_leased(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await chat(client)
        await bank.change_limits("bank-a", budget_total_micros=0)
        async with asyncio.timeout(2):
            await bank.hears_changes()
        with pytest.raises(openai.RateLimitError):
            await chat(client)
        await bank.settled("bank-a")
        with pytest.raises(openai.RateLimitError):
            await chat(client)


async def test_a_raised_limit_lets_the_next_request_through(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", budget_total_micros=1)
    async with bank.client(key) as client:
        with pytest.raises(openai.RateLimitError):
            await chat(client)
        await bank.change_limits("bank-a", budget_total_micros=1_000_000)
        await bank.hears_changes()
        await chat(client)


async def test_one_tenants_limits_do_not_touch_another(bank: ServedBank) -> None:
    key_a = await bank.add_tenant("bank-a", requests_per_minute=1)
    key_b = await bank.add_tenant("bank-b")
    async with bank.client(key_a) as a, bank.client(key_b) as b:
        await chat(a)
        with pytest.raises(openai.RateLimitError):
            await chat(a)
        await chat(b)
    assert len(await bank.usage("bank-b")) == 1


async def test_a_refusal_over_a_rate_says_what_is_left_of_the_rates(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a", requests_per_minute=1)
    async with bank.client(key) as client:
        await chat(client)
        with pytest.raises(openai.RateLimitError) as raised:
            await chat(client)
    headers = raised.value.response.headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert headers["x-ratelimit-reset-requests"]
    assert int(headers["retry-after-ms"]) > 0


async def test_the_bytes_that_engines_put_into_control_tokens_are_held_too(bank: ServedBank) -> None:
    # Of 300 texts such as `<s>` an engine reads 1,800 bytes, of any other text of that length 900.
    key = await bank.add_tenant("bank-a", budget_total_micros=256 + 900 + 300)
    async with bank.client(key) as client:
        await chat(client, messages=[{"role": "user", "content": "a b" * 300}])
        with pytest.raises(openai.RateLimitError) as refused:
            await chat(client, messages=[{"role": "user", "content": "<s>" * 300}])
    assert refused.value.code == "insufficient_quota"
