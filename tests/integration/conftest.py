"""An engine whose answers a test scripts, and ports to serve on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from documented_answers import CheckedIngress
from scripted_engine import EVENT_STREAM

from finpool.serving.errors import ModelCold
from finpool.serving.schemas import EXPECTED_SERVICE_HEADER, WEIGHTS_HEADER

MODEL = "smollm2-135m-instruct"


def unused_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ScriptedEngine:
    """Speaks the engines' protocol: `output_tokens` words, a pause after each, and faults on demand.

    `weights` are the hashes that it names for versions other than the shipped one.
    """

    input_tokens: int = 10
    output_tokens: int = 5
    pause_seconds: float = 0.0
    prompt_seconds: float = 0.0
    break_after: int | None = None
    refuse_with: int | None = None
    asleep: bool = False
    stream_headers: dict[str, str] = field(default_factory=lambda: dict(EVENT_STREAM))
    counts: bool = False
    counted: int = 0
    weights: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    expected_service: list[int] = field(default_factory=list)
    under_way: int = 0
    under_way_max: int = 0
    sent_tokens: int = 0
    aborted: int = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat completion."""
        self.bodies.append(await request.json())
        self.versions.append(request.match_info["version"])
        self.expected_service.append(int(request.headers.get(EXPECTED_SERVICE_HEADER, 0)))
        if self.asleep:
            return web.json_response(ModelCold().body(), status=ModelCold.status)
        if self.refuse_with is not None:
            error = {
                "message": "too long",
                "type": "invalid_request_error",
                "param": None,
                "code": "context_length_exceeded",
            }
            return web.json_response({"error": error}, status=self.refuse_with)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            await asyncio.sleep(self.prompt_seconds)
            return await self._stream(request)
        except (ConnectionError, asyncio.CancelledError):
            self.aborted += 1
            raise
        finally:
            self.under_way -= 1

    async def tokenize(self, request: web.Request) -> web.Response:
        """Tell how many tokens a prompt is, if this engine counts at all."""
        if not self.counts:
            return web.Response(status=404)
        self.counted += 1
        return web.json_response({"count": self.input_tokens})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        named = {WEIGHTS_HEADER: self.weights[version]} if version in self.weights else {}
        response = web.StreamResponse(headers={**self.stream_headers, **named})
        await response.prepare(request)
        for count in range(1, self.output_tokens + 1):
            delta: dict[str, Any] = {"content": f"w{count} "}
            if count == 1:
                delta["role"] = "assistant"
            finish = "stop" if count == self.output_tokens else None
            await self._send(response, [{"index": 0, "delta": delta, "finish_reason": finish}], count)
            if self.break_after == count:
                assert request.transport is not None
                request.transport.close()
                return response
            await asyncio.sleep(self.pause_seconds)
        await self._send(response, [], self.output_tokens)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, choices: list[dict[str, Any]], output_tokens: int) -> None:
        usage = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
        await response.write(b"data: " + orjson.dumps({**chunk, "usage": usage}) + b"\n\n")
        self.sent_tokens = max(output_tokens, self.sent_tokens)


@pytest.fixture(scope="session", autouse=True)
def doors_are_checked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finpool.kernel.web.Ingress", CheckedIngress)
        yield


@pytest.fixture(autouse=True)
def every_answer_is_documented(doors_are_checked: None) -> Iterator[None]:
    """Fail a test in which a door gave an answer that its OpenAPI document does not describe."""
    CheckedIngress.faults.clear()
    yield
    assert CheckedIngress.faults == []


@pytest.fixture
async def engine_port() -> int:
    return unused_port()


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    app = web.Application()
    app.router.add_post(f"/engines/{MODEL}/{{version}}/v1/chat/completions", scripted.chat)
    app.router.add_post(f"/engines/{MODEL}/{{version}}/tokenize", scripted.tokenize)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
def free_port() -> int:
    """A port to serve on."""
    return unused_port()
