"""The routes of a replica, with an engine that does what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

import pytest

from finpool.serving.counters import Counters
from finpool.serving.engine.routes import engine_app
from finpool.serving.engine.work_ahead import WorkAhead
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.schemas import EXPECTED_SERVICE_HEADER, WEIGHTS_HEADER

TOKEN = b"t" * 32
WEIGHTS_SHA256 = "a" * 64
Sent = list[dict[str, Any]]


class ScriptedGeneration:
    """Yields the steps; an exception among them is raised, None waits for ever."""

    def __init__(self, *steps: dict[str, Any] | Exception | None) -> None:
        self._steps = iter(steps)
        self.aborted = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self

    async def __anext__(self) -> dict[str, Any]:
        try:
            step = next(self._steps)
        except StopIteration:
            raise StopAsyncIteration from None
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step

    def abort(self) -> None:
        self.aborted.set()


class ScriptedEngine:
    def __init__(self, generation: ScriptedGeneration | None = None, healthy: bool = True) -> None:
        self.counters = Counters(requests=3, aborted=1, input_tokens=20, output_tokens=5)
        self._generation = generation
        self._healthy = healthy

    def generate(self, body: Mapping[str, Any]) -> ScriptedGeneration:
        if self._generation is None:
            raise EngineRefused("no", code="because")
        return self._generation

    def embed(self, body: Mapping[str, Any]) -> ScriptedGeneration:
        return ScriptedGeneration({"choices": [{"index": 0, "embedding": body["input"][0]}]})

    def complete(self, body: Mapping[str, Any]) -> ScriptedGeneration:
        raise EngineRefused("This model does not complete texts.", param="model")

    def rerank(self, body: Mapping[str, Any]) -> ScriptedGeneration:
        raise EngineRefused("This model does not rank.", param="model")

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        raise AssertionError("no test counts")

    async def healthy(self) -> bool:
        return self._healthy


async def request(
    engine: ScriptedEngine,
    method: str,
    path: str,
    body: bytes = b"{}",
    gone: asyncio.Event | None = None,
    ahead: WorkAhead | None = None,
) -> Sent:
    """Send one ASGI request, of which a service of 100 is expected; the client goes when `gone` is set."""
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    sent: Sent = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + TOKEN), (EXPECTED_SERVICE_HEADER.encode(), b"100")],
    }
    await engine_app(engine, TOKEN, WEIGHTS_SHA256, ahead or WorkAhead())(scope, receive, send)
    return sent


async def chat(generation: ScriptedGeneration | None, **options: Any) -> Sent:
    return await request(ScriptedEngine(generation), "POST", "/v1/chat/completions", **options)


def body_of(sent: Sent) -> bytes:
    return b"".join(message["body"] for message in sent[1:])


async def test_a_stream_names_its_weights_and_its_chunks_are_events_with_done_last() -> None:
    sent = await chat(ScriptedGeneration({"a": 1}, {"b": 2}))
    assert sent[0]["status"] == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in sent[0]["headers"]
    assert (WEIGHTS_HEADER.encode(), WEIGHTS_SHA256.encode()) in sent[0]["headers"]
    assert body_of(sent) == b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("generation", [None, ScriptedGeneration])
async def test_a_refusal_before_the_first_chunk_is_a_400_with_the_reason(generation: Any) -> None:
    sent = await chat(generation and generation(EngineRefused("no", code="because")))
    assert sent[0]["status"] == 400
    assert json.loads(body_of(sent))["error"]["code"] == "because"


async def test_vectors_are_streamed_as_a_chat_is_and_what_a_model_is_not_there_for_is_a_400() -> None:
    sent = await request(ScriptedEngine(), "POST", "/v1/embeddings", body=b'{"input": ["AAAA"]}')
    assert (WEIGHTS_HEADER.encode(), WEIGHTS_SHA256.encode()) in sent[0]["headers"]
    assert body_of(sent) == b'data: {"choices":[{"index":0,"embedding":"AAAA"}]}\n\ndata: [DONE]\n\n'
    sent = await request(ScriptedEngine(), "POST", "/v1/rerank")
    assert (sent[0]["status"], json.loads(body_of(sent))["error"]["param"]) == (400, "model")


async def test_a_failure_before_the_first_chunk_is_a_500() -> None:
    sent = await chat(ScriptedGeneration(EngineFailed("?")))
    assert sent[0]["status"] == 500
    assert json.loads(body_of(sent))["error"]["code"] == "engine_error"


async def test_a_failure_in_mid_stream_is_an_error_event_without_done() -> None:
    sent = await chat(ScriptedGeneration({"a": 1}, EngineFailed("?")))
    events = body_of(sent).split(b"\n\n")
    assert "error" in json.loads(events[1].removeprefix(b"data: "))
    assert b"[DONE]" not in body_of(sent)


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"7", b"null"])
async def test_a_body_that_is_no_object_is_a_400(body: bytes) -> None:
    class Strict(ScriptedEngine):
        def generate(self, body: Mapping[str, Any]) -> ScriptedGeneration:
            return ScriptedGeneration(dict(body["messages"]))

    sent = await request(Strict(), "POST", "/v1/chat/completions", body=body)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("steps", [(None,), ({"a": 1}, None)])
async def test_a_caller_that_goes_away_stops_the_generation(steps: tuple[Any, ...]) -> None:
    generation, gone = ScriptedGeneration(*steps), asyncio.Event()
    answering = asyncio.create_task(chat(generation, gone=gone))
    await asyncio.sleep(0)
    gone.set()
    async with asyncio.timeout(5):
        await answering
    assert generation.aborted.is_set()


async def test_a_cancelled_request_stops_the_generation() -> None:
    generation = ScriptedGeneration({"a": 1}, None)
    answering = asyncio.create_task(chat(generation))
    for _ in range(20):
        await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert generation.aborted.is_set()


async def test_usage_tells_the_engines_own_counts() -> None:
    sent = await request(ScriptedEngine(), "GET", "/usage")
    counted = {"running": 0, "requests": 3, "aborted": 1, "input_tokens": 20, "output_tokens": 5}
    assert json.loads(body_of(sent)) == {**counted, "cached_input_tokens": 0}


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
async def test_health_is_whether_the_engine_gives_a_token(healthy: bool, status: int) -> None:
    sent = await request(ScriptedEngine(healthy=healthy), "GET", "/health")
    assert sent[0]["status"] == status


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
async def test_there_is_no_documentation(path: str) -> None:
    assert (await request(ScriptedEngine(), "GET", path))[0]["status"] == 404


@pytest.mark.parametrize("ends", [(), (EngineFailed("broke"),), (None,)])
async def test_what_is_ahead_of_a_replica_is_less_with_each_chunk_and_nothing_at_the_end(ends: Any) -> None:
    ahead, gone, seen = WorkAhead(), asyncio.Event(), []

    class Watched(ScriptedGeneration):
        async def __anext__(self) -> dict[str, Any]:
            seen.append(ahead.service)
            if len(seen) == 3:
                gone.set()
            return await super().__anext__()

    counted = [{"usage": {"prompt_tokens": 10, "completion_tokens": tokens}} for tokens in (0, 5)]
    await chat(Watched(*counted, *ends), gone=gone, ahead=ahead)
    assert seen == [100, 100 - 10, 100 - 10 - 2 * 5]
    assert ahead.service == 0
