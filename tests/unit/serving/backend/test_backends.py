"""The gateway's side of an engine, against a server that behaves and misbehaves on command."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_engine import (
    CHUNK,
    ENGINE_TOKEN,
    EVENT_STREAM,
    LAST,
    USAGE,
    USED,
    Answer,
    FakeEngine,
    event,
    refused,
    streamed,
)

from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import WEIGHTS_HEADER, EngineChunks, Operation

BODY = {"messages": [{"role": "user", "content": "Hello"}]}


async def ask(backends: Backends, model: Model) -> list[EngineChunks]:
    stream = await backends.ask(Operation.CHAT, model, BODY, RequestId("req_1"))
    with closing(stream):
        await stream.begun()
        return [chunks async for chunks in stream if chunks.choices or chunks.usage]


async def test_chunks_come_as_sent_with_their_usage_apart(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = streamed(event(CHUNK), event({**CHUNK, "usage": None}), event(LAST), b"data: [DONE]\n\n")
    received = await ask(backends, model)
    assert [choices for chunks in received for choices in chunks.choices] == [CHUNK["choices"], CHUNK["choices"]]
    assert received[-1].usage == USED


@pytest.mark.parametrize("said", [{}, {WEIGHTS_HEADER: "0" * 64}, {WEIGHTS_HEADER: "é"}])
async def test_nothing_is_passed_on_from_an_engine_that_does_not_serve_the_weights_of_the_catalogue(
    backends: Backends, engine: FakeEngine, model: Model, said: dict[str, str]
) -> None:
    headers = {"content-type": "text/event-stream", **said}
    engine.answer = streamed(event(CHUNK), b"data: [DONE]\n\n", headers=headers)
    with pytest.raises(EngineFailed, match="does not serve the weights"):
        await ask(backends, model)


async def test_what_arrived_together_is_told_together_and_before_the_failure_behind_it(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    error = event({"error": {"message": "broken"}})
    engine.answer = streamed(event({**CHUNK, "usage": {**USAGE, "completion_tokens": 1}}) + event(CHUNK) + error)
    stream = await backends.ask(Operation.CHAT, model, BODY, RequestId("req_1"))
    with closing(stream):
        await stream.begun()
        chunks = await anext(aiter(stream))
        assert (chunks.choices, chunks.usage) == ([CHUNK["choices"]] * 2, USED)
        assert stream.more_is_here
        with pytest.raises(EngineFailed):
            await anext(aiter(stream))


async def test_an_engine_of_the_pool_may_refuse_on_the_way(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    error = {
        "type": "invalid_request_error",
        "message": "Too long.",
        "code": "context_length_exceeded",
        "param": "input",
    }
    engine.answer = streamed(event(CHUNK), event({"error": error}))
    with pytest.raises(EngineRefused) as refused_late:
        await ask(backends, model)
    assert (refused_late.value.refusal_code, refused_late.value.param) == ("context_length_exceeded", "input")


async def test_a_caller_that_gave_up_waiting_may_wait_again_and_loses_nothing(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    may_begin, may_send = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        await may_begin.wait()
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        await may_send.wait()
        await response.write(event(CHUNK) + b"data: [DONE]\n\n")
        return response

    engine.answer = slowly
    stream = await backends.ask(Operation.CHAT, model, BODY, RequestId("req_1"))
    with closing(stream):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await stream.begun()
        may_begin.set()
        await stream.begun()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(aiter(stream))
        may_send.set()
        assert [chunks.usage async for chunks in stream if chunks.choices] == [USED]
    assert len(engine.bodies) == 1


async def test_the_engine_is_told_to_stream_and_to_count_and_who_asks(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = streamed(b"data: [DONE]\n\n")
    await ask(backends, model)
    assert engine.bodies == [
        {
            **BODY,
            "model": model.id,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    ]
    assert engine.headers[0]["authorization"] == f"Bearer {ENGINE_TOKEN}"
    assert engine.headers[0]["x-request-id"] == "req_1"


async def test_a_connection_serves_the_next_request(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = streamed(event(LAST), b"data: [DONE]\n\n")
    for _ in range(3):
        await ask(backends, model)
    assert len(engine.connections) == 1


async def test_leaving_early_closes_the_connection(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = streamed(event(CHUNK), pause_seconds=30)
    stream = await backends.ask(Operation.CHAT, model, BODY, RequestId("req_1"))
    await stream.begun()
    await anext(aiter(stream))
    stream.close()
    async with asyncio.timeout(5):
        await engine.left.wait()


async def test_an_engines_refusal_keeps_its_reason_and_code(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    error = {"message": "too long", "code": "context_length_exceeded", "param": "messages", "type": "x"}
    engine.answer = refused(400, {"error": error})
    with pytest.raises(EngineRefused) as raised:
        await ask(backends, model)
    assert raised.value.status == 400
    assert raised.value.body()["error"]["code"] == "context_length_exceeded"
    assert raised.value.body()["error"]["message"] == "too long"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refused(503, "Request dropped due to backpressure"), EngineUnavailable),
        (refused(502, "bad gateway", "text/plain"), EngineUnavailable),
        (refused(404, "no such application", "text/plain"), EngineUnavailable),
        (refused(500, "Internal Server Error", "text/plain"), EngineUnavailable),
        (refused(500, {"error": {"message": "the prompt was: secret", "code": "x"}}), EngineFailed),
        (refused(400, "not json"), EngineFailed),
        (refused(401, {"error": {}}), EngineFailed),
        (streamed(event(CHUNK)), EngineFailed),
        (streamed(event(CHUNK), event({"error": {"message": "secret"}})), EngineFailed),
        (streamed(event(CHUNK), b"data: {]\n\n"), EngineFailed),
        (streamed(event({**CHUNK, "usage": {"prompt_tokens": "9"}})), EngineFailed),
        (streamed(event({**CHUNK, "usage": {**USAGE, "prompt_tokens": -1}})), EngineFailed),
        (streamed(event(CHUNK), pause_seconds=30), EngineFailed),
    ],
)
async def test_each_failure_has_its_error_and_repeats_nothing_of_the_engines(
    backends: Backends,
    engine: FakeEngine,
    model: Model,
    answer: Answer,
    expected: type[EngineFailed | EngineUnavailable],
) -> None:
    engine.answer = answer
    with pytest.raises(expected) as raised:
        await ask(backends, model)
    assert "secret" not in raised.value.message


async def test_an_engine_that_does_not_begin_is_unavailable(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    engine.answer = never
    with pytest.raises(EngineUnavailable) as raised:
        await ask(backends, model)
    assert (raised.value.status, raised.value.code) == (503, "engine_unavailable")


async def test_an_engine_that_is_not_there_is_unavailable_and_not_ready(tmp_path: Path, model: Model) -> None:
    (tmp_path / "engine_token").write_text(ENGINE_TOKEN)
    # Port 1 is never listened on: only the superuser could, and nobody does.
    backends = Backends(Settings(serve_url="http://127.0.0.1:1", secrets_dir=tmp_path))
    await backends.start()
    with pytest.raises(EngineUnavailable):
        await ask(backends, model)
    assert not await backends.ready(model)
    await backends.close()


async def test_a_request_that_never_left_is_sent_once_more(
    backends: Backends, engine: FakeEngine, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, attempts = asyncio.get_running_loop(), list[str]()
    connect = loop.create_connection

    async def fail_at_first(factory: Any, host: str, port: int, **options: Any) -> Any:
        attempts.append(host)
        if len(attempts) == 1:
            raise ConnectionRefusedError
        return await connect(factory, host, port, **options)

    monkeypatch.setattr(loop, "create_connection", fail_at_first)
    engine.answer = streamed(event(LAST), b"data: [DONE]\n\n")
    assert (await ask(backends, model))[-1].usage == USED
    assert (len(attempts), len(engine.bodies)) == (2, 1)


async def test_a_request_that_left_is_never_sent_again(backends: Backends, engine: FakeEngine, model: Model) -> None:
    for answer in (refused(503, "full"), refused(500, {"error": {"message": "m"}}), streamed(event(CHUNK))):
        engine.bodies.clear()
        engine.answer = answer
        with pytest.raises((EngineFailed, EngineUnavailable)):
            await ask(backends, model)
        assert len(engine.bodies) == 1


async def test_readiness_is_the_engines_own_health(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = refused(503, "starting")
    assert not await backends.ready(model)
    engine.answer = refused(200, "")
    assert await backends.ready(model)
