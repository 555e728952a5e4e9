"""An engine of somebody else's, behind OpenAI's API: what it is sent, how its answer is read and counted (ADR 0021)."""

from collections.abc import Mapping
from typing import Any

import orjson

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.errors import DomainError
from finpool.serving.backend.reading import BUSY
from finpool.serving.backend.stream import ChunkStream
from finpool.serving.errors import EngineBusy, EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import EngineChunks
from finpool.serving.transport.connection import HttpCall

REMOTE_CHAT_PATH = "/chat/completions"
REMOTE_MODELS_PATH = "/models"
BYTES_PER_TOKEN = 4
"""What a token of a prompt is taken to be, where nobody counts: about a word's length in English, a character and a
third in Chinese. Tokenizers make more tokens than that out of most text, so the estimate is seldom too high."""

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
    """Return the request in the words that `engine` was declared with; raise `EngineRefused` for what it cannot do.

    Only fields named here or in the declaration are sent. The gateway's salt stays here unless it is declared.
    """
    request: dict[str, Any] = {}
    for name, value in body.items():
        if name in OPENAI_FIELDS or name in engine.extensions:
            request[name] = value
        elif name == "max_tokens":
            request[engine.output_limit_field] = value
        elif name != "cache_salt":
            raise EngineRefused(f"The model does not support {name}.", code="unsupported_parameter", param=name)
    options = {"include_usage": True}
    if engine.usage == "running":
        options["continuous_usage_stats"] = True
    return {**request, "model": engine.model, "stream": True, "stream_options": options}


def estimate_of(body: Mapping[str, Any], context_tokens: int) -> TokenUsage:
    """Return about how many tokens a prompt is where nobody counts them, and the most that may come out of it.

    Both stay within what was reserved: at least the bytes of the request or the whole context, and the longest answer.
    """
    told = orjson.dumps([body["messages"], body.get("tools") or []])
    input_tokens = min(-(-len(told) // BYTES_PER_TOKEN), context_tokens)
    return TokenUsage(input_tokens, 0, body["max_tokens"] * body.get("n", 1))


class RemoteStream(ChunkStream):
    """The chunks of a remote engine's answer. Until the engine reports a count, usage is estimated, and told so.

    The prompt counts as estimated from the first chunk on, and each chunk that carries something of a choice as one
    token, up to the longest answer asked for: no engine sends a chunk without having made one. So a stream that its
    client leaves is never free, and its output is never charged above what was made.
    """

    __slots__ = ("_estimate_max", "_output_tokens", "_reported")

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
        """Tell whether the engine has reported no count yet."""
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
        return failure  # Whatever the event says, it is not in our words.

    def _refused(self, status: int) -> EngineRefused | EngineUnavailable | EngineFailed:
        return remote_refusal(status, bytes(self._refusal), "messages")


def remote_refusal(status: int, body: bytes, param: str) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error in our own words: the other side's may name its insides, or who pays for it.

    `param` is the field that holds what may be too long.
    """
    if status == BUSY:
        return EngineBusy("The model is busy.")
    if status == _NOT_TAKEN_YET:
        return EngineUnavailable("The model is not available at the moment.")
    if status not in _REFUSALS:
        return EngineFailed("The model failed to answer.")
    if _code(body) == "context_length_exceeded":
        message = "The request is longer than the model's context."
        return EngineRefused(message, code="context_length_exceeded", param=param)
    return EngineRefused("The model's engine cannot serve this request.")


def _carries(choice: Any) -> bool:
    """Tell whether a chunk's choice holds something generated, and not a role or an end only."""
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")


def _code(body: bytes) -> Any:
    try:
        return orjson.loads(body)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        return None
