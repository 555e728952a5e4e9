"""Embeddings and rankings at the banks' door, before an engine that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import yaml
from aiohttp import web
from model_declarations import PRICE
from openai.types.chat import ChatCompletionMessageParam
from pooling_models import CHAT, CONTEXT_TOKENS, EMBEDDING, RERANK, pooling_declaration
from scripted_pooling import TOKENS, VECTOR, ScriptedPooling
from served_bank import ServedBank

from finpool.catalogue.model.service import default_directory
from finpool.kernel.settings import Settings
from finpool.serving.schemas import WEIGHTS_HEADER

OF_BANK_B = "embedding-of-bank-b"


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedPooling]:
    scripted = ScriptedPooling()
    app = web.Application()
    app.router.add_post("/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a door with a model of each kind, and one for bank B only."""
    directory = tmp_path / "catalogue"
    directory.mkdir()
    (directory / "chat.yaml").write_text((default_directory() / f"{CHAT}.yaml").read_text())
    price = {**PRICE, "cached_input_micros_per_million_tokens": 1_000_000}
    for declared in (
        pooling_declaration(EMBEDDING, "embedding", price=price),
        pooling_declaration(RERANK, "rerank", price=price),
        pooling_declaration(OF_BANK_B, "embedding", price=price, tenants=["bank-b"]),
    ):
        (directory / f"{declared['id']}.yaml").write_text(yaml.safe_dump(declared))
    return settings.model_copy(update={"catalogue_dir": directory})


async def post(bank: ServedBank, key: str, path: str, **body: Any) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"}
    url = f"{bank.url}/{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        return response.status, await response.json()


def embed(bank: ServedBank, key: str, **fields: Any) -> Coroutine[Any, Any, tuple[int, Any]]:
    return post(bank, key, "v1/embeddings", **{"model": EMBEDDING, "input": ["one", "two"], **fields})


def rerank(bank: ServedBank, key: str, path: str = "v1/rerank", **fields: Any) -> Coroutine[Any, Any, tuple[int, Any]]:
    return post(bank, key, path, **{"model": RERANK, "query": "q", "documents": ["a", "b", "c"], **fields})


async def test_answers_have_the_shapes_that_clients_know(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    status, answer = await embed(bank, key, user="somebody")
    assert status == 200
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": VECTOR} for index in (0, 1)],
        "model": EMBEDDING,
        "usage": {"prompt_tokens": 2 * TOKENS, "total_tokens": 2 * TOKENS},
    }
    assert bank.engine.bodies[0].keys() == {"model", "input", "cache_salt"}
    status, ranked = await rerank(bank, key, documents=["a", {"text": "b"}, "c"], top_n=2, return_documents=True)
    assert status == 200
    assert ranked["results"] == [
        {"index": 2, "relevance_score": 2.0, "document": {"text": "c"}},
        {"index": 1, "relevance_score": 1.0, "document": {"text": "b"}},
    ]
    assert ranked["usage"] == {"prompt_tokens": 3 * TOKENS, "total_tokens": 3 * TOKENS}
    assert bank.engine.bodies[1].keys() == {"model", "query", "documents", "cache_salt"}
    assert (await bank.settled("bank-a")).posted_micros == 5 * TOKENS
    records = await bank.usage("bank-a")
    assert [(each["outcome"], each["input_tokens"], each["output_tokens"]) for each in records] == [
        ("completed", 2 * TOKENS, 0),
        ("completed", 3 * TOKENS, 0),
    ]


def ranking_answer(version: str, *, with_documents: bool) -> dict[str, Any]:
    documents = [{"document": {"text": text}} if with_documents else {} for text in ("c", "b")]
    tokens = {"input_tokens": 3 * TOKENS}
    return {
        "model": RERANK,
        "results": [
            {"index": 2, "relevance_score": 2.0, **documents[0]},
            {"index": 1, "relevance_score": 1.0, **documents[1]},
        ],
        "usage": {"prompt_tokens": 3 * TOKENS, "total_tokens": 3 * TOKENS},
        "meta": {"api_version": {"version": version}, "billed_units": tokens, "tokens": tokens},
    }


@pytest.mark.parametrize(
    ("path", "fields", "answer"),
    [
        ("rerank", {}, ranking_answer("1", with_documents=True)),
        ("v1/rerank", {}, ranking_answer("1", with_documents=True)),
        ("v1/rerank", {"rank_fields": ["text"], "max_chunks_per_doc": 10}, ranking_answer("1", with_documents=True)),
        ("v1/rerank", {"return_documents": False}, ranking_answer("1", with_documents=False)),
        ("v2/rerank", {}, ranking_answer("2", with_documents=False)),
        ("v2/rerank", {"max_tokens_per_doc": 4096, "priority": 0}, ranking_answer("2", with_documents=False)),
        ("v2/rerank", {"return_documents": True}, ranking_answer("2", with_documents=True)),
    ],
)
async def test_each_path_ranks_as_its_clients_expect(
    bank: ServedBank, path: str, fields: dict[str, Any], answer: dict[str, Any]
) -> None:
    key = await bank.add_tenant("bank-a")
    status, ranked = await rerank(bank, key, path, top_n=2, **fields)
    assert (status, ranked.pop("id")[:7]) == (200, "rerank-")
    assert ranked == answer
    assert bank.engine.bodies[0].keys() == {"model", "query", "documents", "cache_salt"}
    assert (await bank.settled("bank-a")).posted_micros == 3 * TOKENS


@pytest.mark.parametrize("path", ["rerank", "v1/rerank", "v2/rerank"])
async def test_no_path_ranks_without_a_key_or_with_a_query(bank: ServedBank, path: str) -> None:
    status, refused = await rerank(bank, "fpk_wrong", path)
    assert (status, refused["error"]["code"]) == (401, "invalid_api_key")
    key = await bank.add_tenant("bank-a")
    status, refused = await rerank(bank, key, f"{path}?top_n=1")
    assert (status, refused["error"]["param"]) == (400, "top_n")
    assert bank.engine.bodies == []


Refused = dict[str, tuple[dict[str, Any], str, str | None]]

EMBED_REFUSED: Refused = {
    "unknown field": ({"truncate": True}, "unknown_parameter", "truncate"),
    "dimensions the model lacks": ({"dimensions": 2}, "unsupported_parameter", "dimensions"),
    "tokens": ({"input": [1, 2]}, "unsupported_parameter", "input"),
    "several texts as tokens": ({"input": [[1, 2], [3]]}, "unsupported_parameter", "input"),
    "nothing": ({"input": []}, "invalid_value", "input"),
    "an empty text": ({"input": ["a", ""]}, "invalid_value", "input[1]"),
    "too many": ({"input": ["a"] * 2049}, "invalid_value", "input"),
    "other encodings": ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
    "a chat model": ({"model": CHAT}, "unsupported_parameter", "model"),
    "a rerank model": ({"model": RERANK}, "unsupported_parameter", "model"),
}
RERANK_REFUSED: Refused = {
    "unknown field": ({"rank": ["text"]}, "unknown_parameter", "rank"),
    "documents of several fields": ({"rank_fields": ["title"]}, "unsupported_parameter", "rank_fields"),
    "documents to cut": ({"max_tokens_per_doc": 512}, "unsupported_parameter", "max_tokens_per_doc"),
    "no documents": ({"documents": []}, "invalid_value", "documents"),
    "too many": ({"documents": ["a"] * 1001}, "invalid_value", "documents"),
    "no query": ({"query": ""}, "invalid_value", "query"),
    "none of them": ({"top_n": 0}, "invalid_value", "top_n"),
    "an embedding model": ({"model": EMBEDDING}, "unsupported_parameter", "model"),
}


async def test_what_cannot_be_honoured_is_refused_by_name(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    wrong = {}
    for ask, cases in ((embed, EMBED_REFUSED), (rerank, RERANK_REFUSED)):
        for case, (fields, code, param) in cases.items():
            status, answer = await ask(bank, key, **fields)
            if (status, answer["error"]["code"], answer["error"]["param"]) != (400, code, param):
                wrong[case] = answer
    assert wrong == {}
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError, match="does not chat; it takes /v1/embeddings"):
            await client.chat.completions.create(model=EMBEDDING, messages=messages)
    assert bank.engine.bodies == []
    assert await bank.usage("bank-a") == []


async def test_a_model_of_other_tenants_does_not_exist_for_a_bank(bank: ServedBank) -> None:
    keys = {name: await bank.add_tenant(name) for name in ("bank-a", "bank-b")}
    status, answer = await embed(bank, keys["bank-a"], model=OF_BANK_B)
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    status, _ = await embed(bank, keys["bank-b"], model=OF_BANK_B)
    assert status == 200
    assert await bank.usage("bank-a") == []


async def test_a_budget_holds_whatever_the_engine_makes_of_the_texts(bank: ServedBank) -> None:
    bank.engine.tokens = 100  # The most tokens of a text of 84 bytes, with the text that a model may put around it.
    key = await bank.add_tenant("bank-a", budget_total_micros=350)
    answers = await asyncio.gather(*(embed(bank, key, input="x" * 84) for _ in range(12)))
    served = [status for status, _ in answers].count(200)
    assert 1 <= served <= 3
    assert {status for status, _ in answers} == {200, 429}
    assert (await bank.settled("bank-a")).posted_micros == 100 * served
    status, answer = await embed(bank, key, input=["x" * CONTEXT_TOKENS] * 3)
    assert (status, answer["error"]["code"]) == (429, "insufficient_quota")
    assert len(bank.engine.bodies) == served


async def test_a_client_that_leaves_stops_the_engine_and_pays_for_what_it_told(bank: ServedBank) -> None:
    bank.engine.stops_after = 3
    key = await bank.add_tenant("bank-a")
    asking = asyncio.create_task(embed(bank, key, input=["text"] * 100))
    await asyncio.wait_for(bank.engine.has_stopped.wait(), 10)
    asking.cancel()
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"], record["output_tokens"]) == ("aborted", False, 0)
    assert 0 < account.posted_micros == record["input_tokens"] <= 3 * TOKENS
    assert bank.engine.aborted == 1


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"left_out": 1}, 500, "engine_error"),
        ({"headers": {WEIGHTS_HEADER: "0" * 64}}, 500, "engine_error"),
        ({"refuse_at": 0}, 400, "context_length_exceeded"),
        ({"refuse_at": 1}, 400, "context_length_exceeded"),
    ],
)
async def test_an_answer_that_is_not_whole_is_an_error_and_costs_nothing(
    bank: ServedBank, fault: dict[str, Any], status: int, code: str
) -> None:
    for name, value in fault.items():
        setattr(bank.engine, name, value)
    key = await bank.add_tenant("bank-a")
    answered, answer = await embed(bank, key)
    assert (answered, answer["error"]["code"]) == (status, code)
    assert (await bank.settled("bank-a")).posted_micros == 0
    assert {each["outcome"] for each in await bank.usage("bank-a")} <= {"failed"}
