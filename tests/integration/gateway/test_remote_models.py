"""A model that somebody else serves, through the whole gateway: banks pay what it counted, or a flagged estimate."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from aiohttp import ClientSession, web
from openai.types.chat import ChatCompletionMessageParam
from remote_model import KEY, remote_declaration, remote_pooling_declaration
from scripted_engine import CHUNK, LAST, USAGE, FakeEngine, event, refused, streamed
from served_bank import ServedBank

from finpool.catalogue.model.service import default_directory
from finpool.kernel.settings import Settings

MODEL = "far"
COMPLETING = "far-completing"
EMBEDDING = "far-embedding"
RERANK = "far-rerank"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
UNCOUNTED = {"id": "c", "choices": CHUNK["choices"]}
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def remote() -> AsyncIterator[FakeEngine]:
    far = FakeEngine()
    application = web.Application()
    application.router.add_post("/v1/{path:.*}", far.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    far.port = runner.addresses[0][1]
    yield far
    await runner.cleanup()


@pytest.fixture
def settings(settings: Settings, remote: FakeEngine, tmp_path: Path) -> Settings:
    """The usual settings, with remote models beside the pool's."""
    catalogue = tmp_path / "catalogue"
    shutil.copytree(default_directory(), catalogue)
    url = f"http://127.0.0.1:{remote.port}/v1"
    for declaration in (
        remote_declaration(url),
        remote_declaration(url, COMPLETING, text_completions=True),
        remote_pooling_declaration(url, EMBEDDING, "embedding"),
        remote_pooling_declaration(url, RERANK, "rerank"),
    ):
        (catalogue / f"{declaration['id']}.yaml").write_text(yaml.safe_dump(declaration))
    (settings.secrets_path / "remote_far").write_text(KEY)
    return settings.model_copy(update={"catalogue_dir": catalogue})


async def test_a_whole_answer_is_charged_as_it_was_counted_there(bank: ServedBank, remote: FakeEngine) -> None:
    remote.answer = streamed(event(UNCOUNTED), event(LAST), DONE)
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == USAGE["completion_tokens"]
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"], record["model_id"]) == ("completed", False, MODEL)
    assert (record["input_tokens"], record["output_tokens"]) == (9, 2)
    assert (await bank.settled("bank-a")).posted_micros == 9 + 2 * 2
    assert bank.engine.bodies == []
    assert remote.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_a_client_that_leaves_before_anything_was_counted_pays_an_estimate_that_says_so(
    bank: ServedBank, remote: FakeEngine
) -> None:
    remote.answer = streamed(event(UNCOUNTED), event(UNCOUNTED), pause_seconds=30)
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True)
        async for _ in stream:
            break
        await stream.close()
    async with asyncio.timeout(10):
        await remote.left.wait()
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("aborted", True)
    assert 1 <= record["output_tokens"] <= 2
    assert record["input_tokens"] >= 1
    assert account.posted_micros == record["input_tokens"] + 2 * record["output_tokens"]


async def test_an_answer_that_was_never_counted_is_an_estimate_and_never_free(
    bank: ServedBank, remote: FakeEngine
) -> None:
    remote.answer = streamed(*[event(UNCOUNTED)] * 3, DONE)
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"], record["output_tokens"]) == ("completed", True, 3)
    assert (await bank.settled("bank-a")).posted_micros > 0


async def test_what_it_cannot_do_or_refuses_is_told_and_costs_nothing(bank: ServedBank, remote: FakeEngine) -> None:
    remote.answer = refused(429, {"error": {"message": "the operator's account is over its limit"}})
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError) as unknown:
            await client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"top_k": 5})
        assert (unknown.value.code, unknown.value.param) == ("unsupported_parameter", "top_k")
        with pytest.raises(openai.RateLimitError) as busy:
            await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (busy.value.status_code, busy.value.code) == (429, "model_busy")
    assert busy.value.response.headers["retry-after-ms"] == "1000"
    assert "account" not in str(busy.value)
    assert len(remote.bodies) == 1
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_banks_are_told_that_its_weights_were_checked_by_nobody(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        models = {each.id: each.model_dump() for each in (await client.models.list()).data}
    assert (models[MODEL]["weights_verified"], models[MODEL]["serving_domain"]) == (False, "pool")


async def test_vectors_and_scores_are_charged_as_they_were_counted_there(bank: ServedBank, remote: FakeEngine) -> None:
    key = await bank.add_tenant("bank-a")
    counted = {"prompt_tokens": 6, "total_tokens": 6}
    remote.answer = refused(200, {"data": [{"index": 0, "embedding": [0.5, -1]}], "usage": counted})
    async with bank.client(key) as client:
        answer = await client.embeddings.create(model=EMBEDDING, input="text", user="somebody")
    assert (answer.data[0].embedding, answer.usage.prompt_tokens) == ([0.5, -1], 6)
    remote.answer = refused(200, {"results": [{"index": 0, "relevance_score": 0.5}], "usage": counted})
    ranking = {"model": RERANK, "query": "q", "documents": ["a"], "return_documents": False}
    headers = {"authorization": f"Bearer {key}"}
    async with ClientSession(headers=headers) as session, session.post(f"{bank.url}/v1/rerank", json=ranking) as told:
        assert (await told.json())["results"] == [{"index": 0, "relevance_score": 0.5}]
    assert [sorted(body) for body in remote.bodies] == [
        ["encoding_format", "input", "model"],
        ["documents", "model", "query"],
    ]
    assert (await bank.settled("bank-a")).posted_micros == 12
    records = await bank.usage("bank-a")
    assert [(each["outcome"], each["estimated"], each["input_tokens"], each["output_tokens"]) for each in records] == [
        ("completed", False, 6, 0)
    ] * 2


async def test_an_answer_that_counts_nothing_is_no_answer_and_costs_nothing(
    bank: ServedBank, remote: FakeEngine
) -> None:
    remote.answer = refused(200, {"data": [{"index": 0, "embedding": [0.5]}]})
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model=EMBEDDING, input="text")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["input_tokens"]) == ("failed", 0)
    assert (await bank.settled("bank-a")).posted_micros == 0


TEXT: dict[str, Any] = {
    "id": "c",
    "choices": [{"index": 0, "text": " lends", "logprobs": None, "finish_reason": "stop"}],
}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_text_completion_is_charged_as_it_was_counted_there(
    bank: ServedBank, remote: FakeEngine, stream: bool
) -> None:
    remote.answer = streamed(event(TEXT), event(LAST), DONE)
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        answer: Any = await client.completions.create(model=COMPLETING, prompt="A bank", echo=True, stream=stream)
        chunks = [chunk async for chunk in answer] if stream else [answer]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "A bank lends"
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["input_tokens"], record["output_tokens"]) == ("completed", 9, 2)
    assert (await bank.settled("bank-a")).posted_micros == 9 + 2 * 2


async def test_a_remote_model_without_text_completions_says_so_and_is_not_asked(
    bank: ServedBank, remote: FakeEngine
) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as told:
            await client.completions.create(model=MODEL, prompt="A bank")
        listed: Any = [each async for each in client.models.list()]
    assert (told.value.code, told.value.param) == ("unsupported_parameter", "model")
    able = {each.id: each.text_completions for each in listed}
    assert (able[MODEL], able[COMPLETING], able[EMBEDDING]) == (False, True, False)
    assert remote.bodies == []


async def test_an_answer_to_a_prompt_that_was_not_sent_fails_and_costs_nothing(
    bank: ServedBank, remote: FakeEngine
) -> None:
    remote.answer = streamed(event({"choices": [{**TEXT["choices"][0], "index": 1}]}), event(LAST), DONE)
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.InternalServerError):
            await client.completions.create(model=COMPLETING, prompt="A bank")
    assert (await bank.settled("bank-a")).posted_micros == 0
