"""An engine for embeddings and rankings that does what a test says."""

import asyncio
import base64
import struct
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from pooling_models import CHAT

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.schemas import WEIGHTS_HEADER

WEIGHTS = {WEIGHTS_HEADER: Catalogue.load(default_directory()).get(CHAT).weights_sha256}
TOKENS = 7
"""The engine's count for each input."""

VECTOR = [0.5, -1.25]


@dataclass
class ScriptedPooling:
    """Answers each input with an event of its own; may stop after so many of them."""

    tokens: int = TOKENS
    stops_after: int | None = None
    left_out: int = 0
    refuse_at: int | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(WEIGHTS))
    bodies: list[dict[str, Any]] = field(default_factory=list)
    has_stopped: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self.headers})
        await response.prepare(request)
        try:
            for index in range(len(body.get("input") or body["documents"]) - self.left_out):
                await response.write(b"data: " + orjson.dumps(self._event(index, "input" in body)) + b"\n\n")
                if index + 1 == self.stops_after:
                    self.has_stopped.set()
                    await asyncio.Event().wait()
            await response.write(b"data: [DONE]\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.aborted += 1
            raise
        return response

    def _event(self, index: int, embeds: bool) -> dict[str, Any]:
        if index == self.refuse_at:
            kind = "invalid_request_error"
            return {
                "error": {"message": "Too long.", "type": kind, "param": "input", "code": "context_length_exceeded"}
            }
        encoded = base64.b64encode(struct.pack("<2f", *VECTOR)).decode()
        result = {"embedding": encoded} if embeds else {"relevance_score": float(index)}
        usage = {"prompt_tokens": self.tokens * (index + 1), "completion_tokens": 0}
        return {"choices": [{"index": index, **result}], "usage": usage}
