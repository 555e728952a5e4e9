"""Embeddings and rankings by llama.cpp itself, as a bank's client gets them: vectors, scores, and exact bills.

The weights are the small chat model's first layers. Their vectors are computed as any embedding model's. The scores of
the declared cross encoder mean nothing, because no weights of a reranker were available.
"""

import asyncio
from typing import Any

import numpy as np
import openai
import pytest
from aiohttp import ClientSession
from pooling_models import CONTEXT_TOKENS, COSINE, EMBEDDING, RERANK
from served_bank import ServedBank
from shared_pool import Pool
from waiting import until

from finpool.kernel.settings import Settings

TEXTS = ["A bank takes deposits.", "What is a lease?", "银行吸收存款。", "A bank takes deposits."]


@pytest.fixture
async def engine(shared_pool: Pool) -> Pool:
    """The real engines awake, in the place of the scripted one."""
    await shared_pool.wake(EMBEDDING, RERANK, COSINE)
    return shared_pool


@pytest.fixture
def engine_port(shared_pool: Pool) -> int:
    """Where the pool serves."""
    return shared_pool.settings.port + 10


@pytest.fixture
def settings(settings: Settings, shared_pool: Pool) -> Settings:
    """Settings of a door before the pool."""
    (settings.secrets_path / "engine_token").write_bytes(shared_pool.settings.secret("engine_token"))
    return settings.model_copy(update={"catalogue_dir": shared_pool.settings.catalogue_dir})


async def rerank(bank: ServedBank, key: str, **fields: Any) -> tuple[int, Any]:
    """Ask for a ranking; returns the status and the document."""
    body = {"model": RERANK, "query": "What is a bank?", "documents": TEXTS, **fields}
    async with (
        ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"{bank.url}/v1/rerank", json=body) as response,
    ):
        return response.status, await response.json()


async def test_vectors_are_the_same_in_both_formats_and_for_the_same_text(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        by_default = await client.embeddings.create(model=EMBEDDING, input=TEXTS)
        as_numbers = await client.embeddings.create(model=EMBEDDING, input=TEXTS, encoding_format="float")
    assert [each.index for each in by_default.data] == [0, 1, 2, 3]
    vectors = [np.array(each.embedding, dtype=np.float32) for each in by_default.data]
    numbers = [np.array(each.embedding, dtype=np.float32) for each in as_numbers.data]
    assert all(np.array_equal(one, other) for one, other in zip(vectors, numbers, strict=True))
    assert np.array_equal(vectors[0], vectors[3])
    assert not np.allclose(vectors[0], vectors[1])
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-3) for vector in vectors)


async def test_what_is_charged_is_what_the_engine_counted(bank: ServedBank, engine: Pool) -> None:
    key, before = await bank.add_tenant("bank-a"), await engine.settled_usage(EMBEDDING)
    async with bank.client(key) as client:
        answer = await client.embeddings.create(model=EMBEDDING, input=TEXTS, user="somebody")
    after = await engine.settled_usage(EMBEDDING)
    counted = after["input_tokens"] - before["input_tokens"]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == counted > len(TEXTS)
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("completed", False)
    assert (record["input_tokens"], record["cached_input_tokens"], record["output_tokens"]) == (counted, 0, 0)
    assert record["operation"] == "embeddings"
    assert account.posted_micros == counted


async def test_a_client_that_leaves_pays_for_what_was_computed_until_then(bank: ServedBank, engine: Pool) -> None:
    key, before = await bank.add_tenant("bank-a"), await engine.settled_usage(EMBEDDING)
    async with bank.client(key) as client:
        asking = asyncio.create_task(client.embeddings.create(model=EMBEDDING, input=["bank " * 200] * 50))

        async def has_counted() -> bool:
            return (await engine.usage(EMBEDDING))["input_tokens"] > before["input_tokens"]

        await until(has_counted, "the engine counts the first text")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    account, after = await bank.settled("bank-a"), await engine.settled_usage(EMBEDDING)
    counted = after["input_tokens"] - before["input_tokens"]
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("aborted", False)
    assert 0 < record["input_tokens"] == counted == account.posted_micros < 50 * 200
    assert after["aborted"] == before["aborted"] + 1


async def test_an_input_beyond_the_context_is_refused_and_costs_nothing(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        for inputs in (["bank " * CONTEXT_TOKENS * 2], ["short", "bank " * CONTEXT_TOKENS * 2]):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.embeddings.create(model=EMBEDDING, input=inputs)
            assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_documents_are_ranked_and_charged_as_the_engine_counted(bank: ServedBank, engine: Pool) -> None:
    key, before = await bank.add_tenant("bank-a"), await engine.settled_usage(RERANK)
    status, answer = await rerank(bank, key, top_n=3, return_documents=True)
    assert status == 200
    counted = (await engine.settled_usage(RERANK))["input_tokens"] - before["input_tokens"]
    assert answer["usage"] == {"prompt_tokens": counted, "total_tokens": counted}
    assert (answer["id"][:7], answer["model"], len(answer["results"])) == ("rerank-", RERANK, 3)
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(each["document"] == {"text": TEXTS[each["index"]]} for each in answer["results"])
    status, again = await rerank(bank, key, return_documents=False)
    assert [each["index"] for each in again["results"]][:3] == [each["index"] for each in answer["results"]]
    assert "document" not in again["results"][0]
    assert (await bank.settled("bank-a")).posted_micros == 2 * counted
    records = await bank.usage("bank-a")
    assert {(each["model_id"], each["input_tokens"], each["output_tokens"]) for each in records} == {
        (RERANK, counted, 0)
    }
    assert {each["operation"] for each in records} == {"rerank"}


async def test_a_model_that_compares_vectors_gives_their_cosine_and_reads_the_query_once(
    bank: ServedBank, engine: Pool
) -> None:
    key, before = await bank.add_tenant("bank-a"), await engine.settled_usage(COSINE)
    query = "What is a bank?"
    async with bank.client(key) as client:
        vectors = await client.embeddings.create(model=EMBEDDING, input=[query, *TEXTS])
    first, *others = (np.array(each.embedding, dtype=np.float32) for each in vectors.data)
    status, answer = await rerank(bank, key, model=COSINE)
    assert status == 200
    scores = {each["index"]: each["relevance_score"] for each in answer["results"]}
    assert scores == pytest.approx({index: float(first @ other) for index, other in enumerate(others)}, abs=1e-3)
    counted = (await engine.settled_usage(COSINE))["input_tokens"] - before["input_tokens"]
    assert answer["usage"]["prompt_tokens"] == counted == vectors.usage.prompt_tokens
