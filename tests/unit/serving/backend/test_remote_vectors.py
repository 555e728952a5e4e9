"""Embeddings and rankings of a remote engine: its requests, its answers, and the answers that are never believed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from remote_model import KEY, remote_pooling_declaration
from scripted_engine import FakeEngine, refused
from waiting import until

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineBusy, EngineFailed, EngineRefused
from finpool.serving.schemas import Operation
from finpool.serving.vectors import unpacked

EMBED = {"input": ["a", "b"], "cache_salt": "5a17"}
RERANK = {"query": "q", "documents": ["a", "b"], "cache_salt": "5a17"}
USAGE = {"prompt_tokens": 9, "total_tokens": 9}
DATA = [{"object": "embedding", "index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [-1.0]}]


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    scripted = FakeEngine()
    application = web.Application()
    application.router.add_post("/v1/embeddings", scripted.handle)
    application.router.add_post("/v1/rerank", scripted.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.port = runner.addresses[0][1]
    yield scripted
    await runner.cleanup()


@pytest.fixture
def models(engine: FakeEngine) -> dict[Operation, Model]:
    url = f"http://127.0.0.1:{engine.port}/v1"
    return {
        operation: Model.model_validate(remote_pooling_declaration(url, "far", kind))
        for operation, kind in ((Operation.EMBED, "embedding"), (Operation.RERANK, "rerank"))
    }


@pytest.fixture
async def backends(models: dict[Operation, Model], tmp_path: Path) -> AsyncIterator[Backends]:
    (tmp_path / "engine_token").write_text("e" * 40)
    (tmp_path / "remote_far").write_text(KEY)
    settings = Settings(secrets_dir=tmp_path, engine_start_timeout_seconds=0.5, engine_read_timeout_seconds=0.5)
    opened = Backends(settings, [models[Operation.EMBED]])
    await opened.start()
    yield opened
    await opened.close()


async def results(
    backends: Backends, operation: Operation, model: Model, body: dict[str, Any]
) -> tuple[list[dict[str, Any]], TokenUsage | None]:
    with closing(await backends.ask(operation, model, body, RequestId("req_1"))) as stream:
        await stream.begun()
        assert not stream.estimates
        chunks = [each async for each in stream]
    return [choice for each in chunks for choices in each.choices for choice in choices], chunks[-1].usage


async def test_vectors_are_read_with_what_was_counted_there(
    backends: Backends, engine: FakeEngine, models: dict[Operation, Model]
) -> None:
    engine.answer = refused(200, {"data": DATA, "usage": USAGE})
    found, usage = await results(backends, Operation.EMBED, models[Operation.EMBED], EMBED)
    assert {each["index"]: unpacked(each["embedding"]) for each in found} == {0: [-1.0], 1: [0.5]}
    assert usage == TokenUsage(9, 0, 0)
    assert engine.bodies == [{"input": ["a", "b"], "encoding_format": "float", "model": "upstream/large"}]
    assert engine.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_scores_are_read_with_what_was_counted_there(
    backends: Backends, engine: FakeEngine, models: dict[Operation, Model]
) -> None:
    ranked = [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}, {"index": 0, "relevance_score": 0.1}]
    engine.answer = refused(200, {"results": ranked, "usage": {"total_tokens": 9}})
    found, usage = await results(backends, Operation.RERANK, models[Operation.RERANK], RERANK)
    assert found == [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    assert usage == TokenUsage(9, 0, 0)
    assert engine.bodies == [{"query": "q", "documents": ["a", "b"], "model": "upstream/large"}]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": DATA},
        {"data": DATA, "usage": {"prompt_tokens": "9"}},
        {"data": DATA, "usage": {"prompt_tokens": -9}},
        {"data": DATA[:1], "usage": USAGE},
        {"data": [DATA[0], DATA[0]], "usage": USAGE},
        {"data": [DATA[0], {"index": 0, "embedding": ["x"]}], "usage": USAGE},
        "not JSON",
    ],
)
async def test_an_answer_without_a_count_or_a_result_is_a_failure(
    backends: Backends, engine: FakeEngine, models: dict[Operation, Model], answer: Any
) -> None:
    engine.answer = refused(200, answer)
    with pytest.raises(EngineFailed):
        await results(backends, Operation.EMBED, models[Operation.EMBED], EMBED)


@pytest.mark.parametrize(
    ("status", "told"), [(400, EngineRefused), (401, EngineFailed), (429, EngineBusy), (500, EngineFailed)]
)
async def test_the_other_sides_words_stay_there(
    backends: Backends, engine: FakeEngine, models: dict[Operation, Model], status: int, told: type[Exception]
) -> None:
    engine.answer = refused(status, {"error": {"message": "the operator's account", "code": "x"}})
    with pytest.raises(told) as raised:
        await results(backends, Operation.EMBED, models[Operation.EMBED], EMBED)
    assert "account" not in str(raised.value)


async def test_closing_early_closes_the_connection(
    backends: Backends, engine: FakeEngine, models: dict[Operation, Model]
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    engine.answer = never
    stream = await backends.ask(Operation.EMBED, models[Operation.EMBED], EMBED, RequestId("req_1"))
    await until(lambda: engine.bodies, "the engine has the request")
    stream.close()
    await asyncio.wait_for(engine.left.wait(), 5)
