"""OpenAI's objects for clients, rendered from the engine's chunks; no other field of the engine passes."""

from typing import Any

import orjson

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.price.schemas import Tier
from finpool.kernel.errors import DomainError

DONE = b"data: [DONE]\n\n"


class Renderer:
    """The renderer of one completion; id, time, model and tier are equal in every chunk."""

    def __init__(self, request_id: str, model: Model, created: int, tier: Tier, *, include_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{request_id.removeprefix('req_')}",
            "created": created,
            "model": model.id,
            "service_tier": "flex" if tier is Tier.BATCH else "default",
            "system_fingerprint": f"fp_{model.weights_sha256[:16]}",
        }
        self._include_usage = include_usage
        # These parts are equal in every chunk, so they are rendered once.
        head = orjson.dumps({**self._head, "object": "chat.completion.chunk"})[:-1]
        self._chunk_start = b"data: " + head + b',"choices":'
        self._chunk_end = (b',"usage":null' if include_usage else b"") + b"}\n\n"

    def chunk(self, choices: list[dict[str, Any]]) -> bytes:
        """Return one server-sent event."""
        return self._chunk_start + orjson.dumps(choices) + self._chunk_end

    def usage_chunk(self, usage: TokenUsage) -> bytes:
        """Return the final event with the usage, or nothing unless the client requested it."""
        if not self._include_usage:
            return b""
        body = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_object(usage)}
        return event(body)

    def completion(self, choices: list[dict[str, Any]], usage: TokenUsage) -> bytes:
        """Return the whole answer of a plain request."""
        body = {**self._head, "object": "chat.completion", "choices": choices, "usage": usage_object(usage)}
        return orjson.dumps(body)


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
