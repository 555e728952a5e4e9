"""An HTTP server in place of an engine, which answers as a test says, and what such answers are made of."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from finpool.catalogue.model.schemas import TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.schemas import WEIGHTS_HEADER

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
    WEIGHTS_HEADER: Catalogue.load(default_directory()).all()[0].weights_sha256,
}
"""What an engine that serves the shipped model begins its stream with."""

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
