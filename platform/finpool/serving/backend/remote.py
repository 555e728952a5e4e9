"""Chats on a remote engine behind OpenAI's API: the request, the answer's chunks and their usage (ADR 0021)."""

from collections.abc import Mapping
from typing import Any

import orjson

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.errors import DomainError
from finpool.serving.backend.reading import BUSY, busy
from finpool.serving.backend.stream import ChunkStream
from finpool.serving.continuation import CONTINUE_FIELD, continuation
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineBusy, EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import EngineChunks
from finpool.serving.transport.connection import HttpCall

REMOTE_CHAT_PATH = "/chat/completions"
REMOTE_MODELS_PATH = "/models"
BYTES_PER_TOKEN = 4
"""The assumed bytes per prompt token for estimates: about a word of English, or 1.3 characters of Chinese. Tokenizers
make more tokens of most text, so the estimate is rarely too high.
"""

OPENAI_FIELDS = frozenset(
    {
        "messages",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    }
)
_NOT_TAKEN_YET = 503
_REFUSALS = frozenset({400, 413, 422})


def remote_request(body: Mapping[str, Any], engine: OpenAiEngine) -> dict[str, Any]:
    """Return the request for `engine`; raise `EngineRefused` for a field that it does not support.

    Only the fields of `OPENAI_FIELDS` and of the declaration are sent; `cache_salt` is dropped unless declared. A last
    message of the assistant is continued, which not every remote engine can do.
    """
    request: dict[str, Any] = {}
    for name, value in body.items():
        if name in OPENAI_FIELDS or name in engine.extensions:
            request[name] = value
        elif name == "max_tokens":
            request[engine.output_limit_field] = value
        elif name != "cache_salt":
            raise EngineRefused(f"The model does not support {name}.", code="unsupported_parameter", param=name)
    continued = continuation(body["messages"]) if "messages" in body else {}
    if continued and CONTINUE_FIELD not in engine.extensions:
        raise EngineRefused(
            "The model does not continue an answer: end the messages with another role than assistant.",
            code="unsupported_parameter",
            param="messages",
        )
    request |= continued
    return {**request, "model": engine.model, "stream": True, "stream_options": stream_options(engine)}


def stream_options(engine: OpenAiEngine) -> dict[str, bool]:
    """Return the options of a stream that reports its usage as the engine can."""
    running = {"continuous_usage_stats": True} if engine.usage == "running" else {}
    return {"include_usage": True, **running}


def estimate_of(body: Mapping[str, Any], context_tokens: int) -> TokenUsage:
    """Return the estimated input tokens and the largest possible output tokens of a request without counts.

    Both stay within the reservation, which covers the bytes of the request or the whole context, and the longest
    answer.
    """
    prompt = orjson.dumps([body["messages"], body.get("tools") or []])
    input_tokens = min(-(-len(prompt) // BYTES_PER_TOKEN), context_tokens)
    return TokenUsage(input_tokens, 0, body["max_tokens"] * body.get("n", 1))


class RemoteStream(ChunkStream):
    """The chunks of a remote engine's answer. Usage is an estimate until the engine reports a count.

    The estimate is the whole prompt, plus one token for each chunk's choice with content, up to the longest answer. An
    engine computes at least one token for such a chunk. So a stream that its client leaves is never free, and its
    output is never overcharged.
    """

    __slots__ = ("_estimate_max", "_output_tokens", "_reported")

    _asked = "messages"
    """The field of the request with the prompt."""

    def __init__(
        self, call: HttpCall, *, estimate_max: TokenUsage, begin_seconds_max: float, read_seconds_max: float
    ) -> None:
        super().__init__(
            call, weights_sha256=None, begin_seconds_max=begin_seconds_max, read_seconds_max=read_seconds_max
        )
        self._estimate_max = estimate_max
        self._output_tokens = 0
        self._reported = False

    @property
    def estimates(self) -> bool:
        """Whether usage is still an estimate, because the engine has reported no count."""
        return not self._reported

    def _parse(self, events: list[bytes]) -> EngineChunks:
        chunks = super()._parse(events)
        if chunks.usage is not None:
            self._reported = True
        elif not self._reported and chunks.choices:
            carried = sum(_carries(choice) for choices in chunks.choices for choice in choices)
            self._output_tokens = min(self._output_tokens + carried, self._estimate_max.output_tokens)
            return EngineChunks(chunks.choices, TokenUsage(self._estimate_max.input_tokens, 0, self._output_tokens))
        return chunks

    def _broken_off(self, event: bytes, failure: EngineFailed) -> DomainError:
        return failure  # Return the failure as it is: a remote error event may name the engine's internals.

    def _refused(self, status: int) -> EngineRefused | EngineUnavailable | EngineFailed:
        if status == BUSY:
            return busy(self._call)
        return remote_refusal(status, bytes(self._refusal), self._asked)


def remote_refusal(status: int, body: bytes, param: str) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error in the platform's own words: the remote text may name its internals or its payer.

    `param` is the request's field with the prompt, for a request that is too long.
    """
    if status == BUSY:
        return EngineBusy()
    if status == _NOT_TAKEN_YET:
        return EngineUnavailable("The model is not available at the moment.")
    if status not in _REFUSALS:
        return EngineFailed("The model failed to answer.")
    if _code(body) == CONTEXT_LENGTH_EXCEEDED:
        message = "The request is longer than the model's context."
        return EngineRefused(message, code=CONTEXT_LENGTH_EXCEEDED, param=param)
    return EngineRefused("The model's engine cannot serve this request.")


def _carries(choice: Any) -> bool:
    """Tell whether a chunk's choice holds generated content, besides a role or a finish reason."""
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta", {"content": choice.get("text")})
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")


def _code(body: bytes) -> Any:
    try:
        return orjson.loads(body)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        return None
