"""Chat completions as a bank's developer meets them, through the official client."""

import asyncio
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai.types.chat import ChatCompletionMessageParam
from served_bank import ServedBank
from waiting import until

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.schemas import WEIGHTS_HEADER

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


async def test_models_are_listed_with_their_root_and_what_they_can(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        models = await client.models.list()
        one: Any = await client.models.retrieve(MODEL)
    listed: list[Any] = models.data
    assert {each.id for each in listed} == {model.id for model in Catalogue.load(default_directory()).all()}
    assert all(each.root == each.id for each in listed)
    (found,) = (each for each in listed if each.id == MODEL)
    assert (found.id, found.root) == (MODEL, MODEL)
    assert found.model_dump() == one.model_dump()
    assert one.capabilities == sorted(one.capabilities)
    assert {"json_schema", "logprobs", "tools"} <= set(one.capabilities)
    assert {each.id for each in listed if each.text_completions} == {MODEL}
    assert 1 <= one.output_tokens_default <= one.output_tokens_max <= one.context_tokens


async def test_a_plain_answer_is_whole_and_its_usage_is_the_engines(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=8)
    assert answer.choices[0].message.content == "w1 w2 w3 w4 w5 "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)
    account = await bank.settled("bank-a")
    assert account.posted_micros == 10 * 1 + 5 * 2
    (record,) = await bank.usage("bank-a")
    assert (record["input_tokens"], record["output_tokens"], record["outcome"]) == (10, 5, "completed")
    assert record["operation"] == "chat"


async def test_a_stream_keeps_its_identity_and_ends_with_the_usage_that_was_asked_for(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "w1 w2 w3 w4 w5 "
    assert all(chunk.usage is None for chunk in chunks[:-1])
    told = chunks[-1].usage
    assert told is not None
    assert (chunks[-1].choices, told.total_tokens) == ([], 15)


async def test_a_stream_shows_no_usage_that_was_not_asked_for(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        body = {"model": MODEL, "messages": HELLO, "stream": True}
        async with session.post(f"{bank.url}/v1/chat/completions", json=body) as response:
            text = await response.text()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"  # nginx would hold the stream back.
    assert response.headers["cache-control"] == "no-cache"
    assert "usage" not in text
    assert text.endswith("data: [DONE]\n\n")
    assert all(line == "" or line.startswith("data: ") for line in text.split("\n"))


async def test_a_client_that_leaves_pays_what_was_generated_and_holds_nothing(bank: ServedBank) -> None:
    bank.engine.output_tokens, bank.engine.pause_seconds = 200, 0.02
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 5:
                await stream.close()
                break
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"], record["input_tokens"]) == ("aborted", False, 10)
    assert 5 <= record["output_tokens"] < 200
    assert account.posted_micros == 10 + 2 * record["output_tokens"]
    assert bank.engine.aborted == 1


async def test_a_plain_request_whose_client_leaves_is_aborted_in_the_engine(bank: ServedBank) -> None:
    bank.engine.output_tokens, bank.engine.pause_seconds = 500, 0.02
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        asking = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HELLO))
        await until(lambda: bank.engine.sent_tokens, "the engine generates")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert record["outcome"] == "aborted"
    assert 0 < record["output_tokens"] < 500
    assert bank.engine.aborted == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_token_pays_its_prompt(bank: ServedBank, stream: bool) -> None:
    bank.engine.output_tokens, bank.engine.pause_seconds = 200, 0.02
    bank.engine.may_begin.clear()
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        asking = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HELLO, stream=stream))
        await until(lambda: bank.engine.under_way, "the engine computes the prompt")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    bank.engine.may_begin.set()
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("aborted", False)
    assert record["input_tokens"] == 10
    assert 1 <= record["output_tokens"] < 20
    assert account.posted_micros == 10 + 2 * record["output_tokens"]
    assert bank.engine.under_way == 0


async def test_an_engine_that_breaks_off_in_mid_stream_is_an_error_event_and_costs_nothing(bank: ServedBank) -> None:
    bank.engine.break_after = 3
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as raised:
            async for _ in stream:
                pass
    assert raised.value.code == "engine_error"
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["cost_picos"], account.posted_micros) == ("failed", 0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_with_other_weights_answers_nobody_and_costs_nothing(bank: ServedBank, stream: bool) -> None:
    bank.engine.stream_headers[WEIGHTS_HEADER] = "0" * 64
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model=MODEL, messages=HELLO, stream=stream)
    assert raised.value.code == "engine_error"
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["cost_picos"], account.posted_micros) == ("failed", 0, 0)


async def test_an_engine_that_breaks_off_a_plain_answer_is_a_500_and_costs_nothing(bank: ServedBank) -> None:
    bank.engine.break_after = 3
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_what_the_engine_refuses_is_told_and_neither_charged_nor_recorded(bank: ServedBank) -> None:
    bank.engine.refuse_with = 400
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert raised.value.code == "context_length_exceeded"
    assert (await bank.settled("bank-a")).posted_micros == 0
    assert await bank.usage("bank-a") == []


async def test_a_suspended_engine_is_a_503_that_holds_nothing(bank: ServedBank) -> None:
    bank.engine.refuse_with = 503
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (raised.value.status_code, raised.value.code) == (503, "engine_unavailable")
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_nothing_of_the_caller_reaches_the_engine(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await client.chat.completions.create(
            model=MODEL, messages=HELLO, user="alice", metadata={"case": "7"}, safety_identifier="s", temperature=0.5
        )
    (body,) = bank.engine.bodies
    assert set(body) == {"model", "messages", "temperature", "max_tokens", "stream", "stream_options", "cache_salt"}
    assert body["max_tokens"] == 256


async def test_few_requests_are_in_flight_however_many_come(bank: ServedBank) -> None:
    bank.engine.pause_seconds = 0.02
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        calls = [client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5) for _ in range(12)]
        await asyncio.gather(*calls)
    assert bank.engine.under_way_max == 4
    waits = sorted(each["queue_ms"] for each in await bank.usage("bank-a"))
    assert len(waits) == 12
    # How long each waited for its turn is on record: four at once did not, and the last for two others' answers.
    assert waits[0] < waits[-1]
    assert waits[-1] >= 20


async def test_a_client_that_does_not_read_is_given_up_and_pays_what_was_generated(bank: ServedBank) -> None:
    bank.settings = bank.settings.model_copy(update={"answer_read_seconds_max": 0.3})
    await bank.restart()
    bank.engine.output_tokens = 10**6
    key = await bank.add_tenant("bank-a", budget_total_micros=10**9)
    body = orjson.dumps({"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 1000})
    _, writer = await asyncio.open_connection("127.0.0.1", bank.door_port, limit=1024)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await until(lambda: bank.engine.aborted, "the engine's answer is given up")
    (record,) = await bank.usage("bank-a")
    assert record["outcome"] == "aborted"
    assert 0 < record["output_tokens"] < 10**6
    writer.close()


async def test_an_engine_is_told_what_a_request_is_expected_to_take(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        for _ in range(2):
            await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=8)
    known, told = bank.engine.expected_service
    assert known > 0, "of the first request of all, only the bound of its prompt is known"
    assert told == 10 + 2 * 5, "the second one is expected to be as the first was"
