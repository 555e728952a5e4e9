"""The answer of vLLM as OpenAI's chunks, each with the usage of all choices so far."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.completion_text import delta_of_text
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineFailed, EngineRefused

_EVENT_PREFIX = "data: "
_END = "[DONE]"
_CHOICE_FIELDS = ("index", "delta", "finish_reason", "logprobs")
_DELTA_FIELDS = ("role", "content", "reasoning_content", "tool_calls", "refusal")


class VllmAnswer:
    """The state of one answer. `usage` is the engine's report so far, over all choices."""

    def __init__(self, model_id: str, choice: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None) -> None:
        """Take the reader of a choice; without one it is that of a chat."""
        self._model_id = model_id
        self._choice = choice or _choice
        self._input_tokens = 0
        self._cached_input_tokens = 0
        self._output_tokens: dict[int, int] = {}
        self._total_output_tokens = 0

    @property
    def usage(self) -> TokenUsage:
        """Tokens that the engine has reported so far."""
        output = max(self._total_output_tokens, sum(self._output_tokens.values()))
        return TokenUsage(self._input_tokens, self._cached_input_tokens, output)

    def accept(self, event: str) -> dict[str, Any] | None:
        """Count an event of the engine and return its chunk, or None at the end; raise `EngineFailed` for an error."""
        data = event.removeprefix(_EVENT_PREFIX).strip()
        if data == _END:
            return None
        chunk: dict[str, Any] = orjson.loads(data)
        if "error" in chunk:
            raise EngineFailed("The model failed to answer.")
        self._count(chunk)
        return {
            "id": chunk["id"],
            "object": "chat.completion.chunk",
            "created": chunk["created"],
            "model": self._model_id,
            "choices": [self._choice(each) for each in chunk["choices"]],
            "usage": usage_object(self.usage),
        }

    def _count(self, chunk: Mapping[str, Any]) -> None:
        """Add the counts of one event: with a choice they cover that choice, in the last event all choices."""
        usage = chunk.get("usage")
        if usage is None:
            return
        self._input_tokens = max(self._input_tokens, usage["prompt_tokens"])
        details = usage.get("prompt_tokens_details") or {}
        self._cached_input_tokens = max(self._cached_input_tokens, details.get("cached_tokens") or 0)
        output = usage.get("completion_tokens") or 0
        if not chunk["choices"]:
            self._total_output_tokens = max(self._total_output_tokens, output)
        for choice in chunk["choices"]:
            index = choice["index"]
            self._output_tokens[index] = max(self._output_tokens.get(index, 0), output)


def refused(message: str, code: int, asked: str = "messages") -> EngineRefused | EngineFailed:
    """Return the error for a request that vLLM refused; its own text describes its internals.

    `asked` is the field of the request with its text.
    """
    if code != 400:
        return EngineFailed("The model failed to answer.")
    if "context length" in message or "max_model_len" in message:
        return EngineRefused(
            f"The {asked} and the longest answer asked for have more tokens together than the model's context.",
            code=CONTEXT_LENGTH_EXCEEDED,
            param=asked,
        )
    return EngineRefused("The model's engine cannot serve this request.")


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choice with OpenAI's fields only, without vLLM's own such as token ids."""
    kept = {name: choice.get(name) for name in _CHOICE_FIELDS}
    delta = choice.get("delta") or {}
    kept["delta"] = {name: delta[name] for name in _DELTA_FIELDS if delta.get(name) is not None}
    if kept["logprobs"] is not None:
        # The end of a choice is a token to vLLM, and its entry is of no text that anybody gets.
        ends = kept["finish_reason"] == "stop" and not delta.get("content")
        kept["logprobs"] = None if ends else _logprobs(kept["logprobs"])
    return kept


def text_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choice of a text completion in the shape of a chat's; raise `EngineFailed` for another shape."""
    shown = delta_of_text(choice)
    if shown["finish_reason"] == "stop" and not choice["text"]:
        shown["logprobs"] = None  # The end of a choice is a token to vLLM, as in a chat.
    return shown


def _logprobs(logprobs: Mapping[str, Any]) -> dict[str, Any]:
    entries = logprobs.get("content") or []
    return {"content": [{**_entry(each), "top_logprobs": list(map(_entry, each["top_logprobs"]))} for each in entries]}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry.get(name) for name in ("token", "logprob", "bytes")}
