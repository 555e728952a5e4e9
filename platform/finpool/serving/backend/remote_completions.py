"""Text completions on a remote engine behind OpenAI's API: the request and the answer's chunks (ADR 0021, ADR 0033)."""

from collections.abc import Mapping
from typing import Any

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.backend.remote import BYTES_PER_TOKEN, RemoteStream, stream_options
from finpool.serving.completion_text import delta_of_text
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.schemas import EngineChunks

REMOTE_COMPLETION_PATH = "/completions"

_FIELDS = frozenset(
    {"prompt", "max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "n", "seed", "stop"}
)
_HANDLED = frozenset({"logprobs", "top_logprobs", "cache_salt"})


def remote_completion_request(body: Mapping[str, Any], engine: OpenAiEngine) -> dict[str, Any]:
    """Return the request for `engine`; raise `EngineRefused` for a field that it does not support."""
    request: dict[str, Any] = {}
    for name, value in body.items():
        if name in _FIELDS or name in engine.extensions:
            request[name] = value
        elif name not in _HANDLED:
            raise EngineRefused(f"The model does not support {name}.", code="unsupported_parameter", param=name)
    if len(body["prompt"]) == 1:
        (request["prompt"],) = body["prompt"]
    if body.get("logprobs"):
        request["logprobs"] = body.get("top_logprobs", 0)
    return {**request, "model": engine.model, "stream": True, "stream_options": stream_options(engine)}


def completion_estimate_of(body: Mapping[str, Any], context_tokens: int) -> TokenUsage:
    """Return the estimated input tokens and the largest possible output tokens of a request without counts.

    Both stay within the reservation, as those of a chat.
    """
    prompts = [min(-(-len(text.encode()) // BYTES_PER_TOKEN), context_tokens) for text in body["prompt"]]
    return TokenUsage(sum(prompts), 0, body["max_tokens"] * body.get("n", 1) * len(prompts))


class RemoteTextStream(RemoteStream):
    """The chunks of a remote engine's text completion, in the shape of a chat's."""

    __slots__ = ()

    _asked = "prompt"

    def _parse(self, events: list[bytes]) -> EngineChunks:
        chunks = super()._parse(events)
        try:
            return EngineChunks([list(map(delta_of_text, choices)) for choices in chunks.choices], chunks.usage)
        except EngineFailed as failure:
            self._failure = failure
            return EngineChunks([], chunks.usage)
