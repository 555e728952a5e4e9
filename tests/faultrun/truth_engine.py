"""An engine that keeps its own books: the tokens of each request, apart from the gateway's count."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.schemas import WEIGHTS_HEADER

MODEL = "smollm2-135m-instruct"
DECLARED = Catalogue.load(default_directory()).get(MODEL)
ALWAYS_WORKS = {"answer": 1.0}
EVENT_STREAM = {
    "content-type": "text/event-stream",
    WEIGHTS_HEADER: DECLARED.weights_sha256,
}


@dataclass
class Dispatch:
    """The engine's work for one request. `ended` tells how: whole, broken off, refused, unavailable, left."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int = 0
    ended: str = "under way"
    times: int = 1


@dataclass
class TruthEngine:
    """Answers with random lengths and paces, and fails in the ways that engines do, by weights."""

    chance: random.Random
    weights: dict[str, float] = field(default_factory=lambda: dict(ALWAYS_WORKS))
    output_tokens: tuple[int, int] = (1, 40)
    pause_seconds: tuple[float, float] = (0.0, 0.02)
    dispatches: dict[str, Dispatch] = field(default_factory=dict)

    def app(self) -> web.Application:
        """Return the engine as it is reached over HTTP."""
        app = web.Application()
        app.router.add_post(f"{DECLARED.engine_path}/v1/chat/completions", self.chat)
        app.router.add_post(f"{DECLARED.engine_path}/tokenize", self.tokenize)
        return app

    @property
    def tokens(self) -> int:
        """All tokens that the engine read and wrote."""
        return sum(each.input_tokens + each.output_tokens for each in self.dispatches.values())

    async def tokenize(self, request: web.Request) -> web.Response:
        """Tell how many input tokens a request is, exactly."""
        return web.json_response({"count": _input_tokens(request)})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat completion, and remember it."""
        request_id = request.headers["x-request-id"]
        body = await request.json()
        known = self.dispatches.get(request_id)
        if known is not None:
            known.times += 1
            return web.json_response({}, status=500)
        input_tokens = _input_tokens(request)
        dispatch = Dispatch(input_tokens, self.chance.randint(0, input_tokens))
        self.dispatches[request_id] = dispatch
        fate = self.chance.choices(list(self.weights), list(self.weights.values()))[0]
        if fate in ("refused", "unavailable", "failed"):
            dispatch.ended, dispatch.input_tokens, dispatch.cached_input_tokens = fate, 0, 0
            error = {"message": fate, "type": "invalid_request_error", "param": None, "code": "no"}
            status = {"refused": 400, "unavailable": 503, "failed": 500}[fate]
            return web.json_response({"error": error}, status=status)
        wanted = min(int(body["max_tokens"]), self.chance.randint(*self.output_tokens))
        dispatch.ended = "left"
        return await self._stream(request, dispatch, wanted, breaks=fate == "broken")

    async def _stream(
        self, request: web.Request, dispatch: Dispatch, wanted: int, *, breaks: bool
    ) -> web.StreamResponse:
        pause = self.chance.uniform(*self.pause_seconds)
        break_at = self.chance.randint(1, wanted) if breaks else None
        response = web.StreamResponse(headers=EVENT_STREAM)
        await response.prepare(request)
        for count in range(1, wanted + 1):
            dispatch.output_tokens = count
            delta = {"role": "assistant", "content": f"w{count} "} if count == 1 else {"content": f"w{count} "}
            finish = "stop" if count == wanted else None
            await _send(response, dispatch, [{"index": 0, "delta": delta, "finish_reason": finish}])
            if count == break_at:
                dispatch.ended = "broken off"
                if request.transport is not None:
                    request.transport.close()
                return response
            await asyncio.sleep(pause)
        await _send(response, dispatch, [])
        dispatch.ended = "whole"
        await response.write(b"data: [DONE]\n\n")
        return response


def _input_tokens(request: web.Request) -> int:
    """Return how long the prompt is: always the same for one request."""
    return random.Random(request.headers["x-request-id"]).randint(5, 60)


async def _send(response: web.StreamResponse, dispatch: Dispatch, choices: list[dict[str, Any]]) -> None:
    usage = {
        "prompt_tokens": dispatch.input_tokens,
        "completion_tokens": dispatch.output_tokens,
        "total_tokens": dispatch.input_tokens + dispatch.output_tokens,
        "prompt_tokens_details": {"cached_tokens": dispatch.cached_input_tokens},
    }
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
    await response.write(b"data: " + orjson.dumps({**chunk, "usage": usage}) + b"\n\n")
