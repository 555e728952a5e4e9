"""OpenAI's objects for clients, rendered from the engine's chunks; no other field of the engine passes."""

from collections.abc import Mapping
from typing import Any

import orjson

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.price.schemas import Tier
from finpool.kernel.errors import DomainError

DONE = b"data: [DONE]\n\n"


class Renderer:
    """The renderer of one completion; the head with id, time and model is equal in every chunk."""

    def __init__(self, head: Mapping[str, Any], *, whole: str, part: str, include_usage: bool) -> None:
        """Take the names of the objects of a whole answer and of its parts."""
        self._head = head
        self._whole = whole
        self._part = part
        self._include_usage = include_usage
        # These parts are equal in every chunk, so they are rendered once.
        start = orjson.dumps({**head, "object": part})[:-1]
        self._chunk_start = b"data: " + start + b',"choices":'
        self._chunk_end = (b',"usage":null' if include_usage else b"") + b"}\n\n"

    def chunk(self, choices: list[dict[str, Any]]) -> bytes:
        """Return one server-sent event."""
        return self._chunk_start + orjson.dumps(choices) + self._chunk_end

    def usage_chunk(self, usage: TokenUsage) -> bytes:
        """Return the final event with the usage, or nothing unless the client requested it."""
        if not self._include_usage:
            return b""
        body = {**self._head, "object": self._part, "choices": [], "usage": usage_object(usage)}
        return event(body)

    def completion(self, choices: list[dict[str, Any]], usage: TokenUsage) -> bytes:
        """Return the whole answer of a plain request."""
        body = {**self._head, "object": self._whole, "choices": choices, "usage": usage_object(usage)}
        return orjson.dumps(body)


def chat_renderer(request_id: str, model: Model, created: int, tier: Tier, *, include_usage: bool) -> Renderer:
    """Return the renderer of a chat completion."""
    tier_name = "flex" if tier is Tier.BATCH else "default"
    head = {**_head("chatcmpl", request_id, model, created), "service_tier": tier_name}
    return Renderer(head, whole="chat.completion", part="chat.completion.chunk", include_usage=include_usage)


def text_renderer(request_id: str, model: Model, created: int, *, include_usage: bool) -> Renderer:
    """Return the renderer of a text completion, whose parts are named as the whole."""
    head = _head("cmpl", request_id, model, created)
    return Renderer(head, whole="text_completion", part="text_completion", include_usage=include_usage)


def _head(kind: str, request_id: str, model: Model, created: int) -> dict[str, Any]:
    return {
        "id": f"{kind}-{request_id.removeprefix('req_')}",
        "created": created,
        "model": model.id,
        "system_fingerprint": f"fp_{model.weights_sha256[:16]}",
    }


def event(body: dict[str, Any]) -> bytes:
    """Return a server-sent event; one space after the colon, as clients expect."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


def error_event(error: DomainError) -> bytes:
    """Return the error event of a stream; it has no `choices`, so that both official clients raise on it."""
    return event(dict(error.body()))


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
