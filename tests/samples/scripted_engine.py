"""HTTP servers in place of an engine, which answer as a test says, and what such answers are made of."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from finpool.catalogue.model.schemas import TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.errors import ModelCold
from finpool.serving.schemas import EXPECTED_SERVICE_HEADER, WEIGHTS_HEADER

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 4},
}
USED = TokenUsage(input_tokens=9, cached_input_tokens=4, output_tokens=2)
CHUNK = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hé"}, "finish_reason": None}], "usage": USAGE}
LAST = {"id": "c", "choices": [], "usage": USAGE}

ENGINE_TOKEN = "e" * 40
EVENT_STREAM = {
    "content-type": "text/event-stream",
    WEIGHTS_HEADER: Catalogue.load(default_directory()).get("smollm2-135m-instruct").weights_sha256,
}
"""The beginning of a stream of an engine that serves the shipped model."""

MODEL = "smollm2-135m-instruct"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """An HTTP server whose answer a test sets; it keeps what it was sent."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.connections: set[Any] = set()
        self.left = asyncio.Event()
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json() if request.can_read_body else None)
        self.headers.append(request.headers)
        self.connections.add(request.transport)
        assert self.answer is not None
        try:
            return await self.answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def streamed(*parts: bytes, pause_seconds: float = 0, headers: dict[str, str] = EVENT_STREAM) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        await asyncio.sleep(pause_seconds)
        return response

    return answer


def refused(status: int, body: Any, content_type: str = "application/json") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type=content_type)

    return answer


@dataclass
class ScriptedEngine:
    """Speaks the engines' protocol: `output_tokens` words, a pause after each, and faults on demand.

    No answer begins while `may_begin` is not set.

    `weights` are the hashes that it names for versions other than the shipped one.
    """

    input_tokens: int = 10
    output_tokens: int = 5
    pause_seconds: float = 0.0
    may_begin: asyncio.Event = field(default_factory=asyncio.Event)
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

    def __post_init__(self) -> None:
        self.may_begin.set()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat completion."""
        return await self._answer(request, await request.json(), [0])

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one text completion, one choice after the other."""
        body = await request.json()
        return await self._answer(request, body, list(range(len(body["prompt"]) * body.get("n", 1))))

    async def _answer(self, request: web.Request, body: dict[str, Any], choices: list[int]) -> web.StreamResponse:
        self.bodies.append(body)
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
            await self.may_begin.wait()
            return await self._stream(request, choices)
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

    async def _stream(self, request: web.Request, indexes: list[int]) -> web.StreamResponse:
        version = request.match_info["version"]
        named = {WEIGHTS_HEADER: self.weights[version]} if version in self.weights else {}
        response = web.StreamResponse(headers={**self.stream_headers, **named})
        await response.prepare(request)
        words = [(index, number) for index in indexes for number in range(1, self.output_tokens + 1)]
        for count, (index, number) in enumerate(words, 1):
            delta: dict[str, Any] = {"content": f"w{number} "}
            if number == 1:
                delta["role"] = "assistant"
            finish = "stop" if number == self.output_tokens else None
            await self.send(response, [{"index": index, "delta": delta, "finish_reason": finish}], count)
            if self.break_after == count:
                assert request.transport is not None
                request.transport.close()
                return response
            await asyncio.sleep(self.pause_seconds)
        await self.send(response, [], len(words))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def send(self, response: web.StreamResponse, choices: list[dict[str, Any]], output_tokens: int) -> None:
        """Send one chunk with the usage of all chunks so far."""
        usage = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
        await response.write(b"data: " + orjson.dumps({**chunk, "usage": usage}) + b"\n\n")
        self.sent_tokens = max(output_tokens, self.sent_tokens)
