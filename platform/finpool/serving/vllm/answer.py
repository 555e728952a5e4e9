"""The answer of vLLM as OpenAI's chunks, each with the usage of all choices so far."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.completion_text import delta_of_text
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineFailed, EngineRefused
from finpool.serving.vllm.stopping import StoppedChoice
from finpool.serving.vllm.strict_calls import StrictCalls

_EVENT_PREFIX = "data: "
_END = "[DONE]"
_CHOICE_FIELDS = ("index", "delta", "finish_reason", "logprobs")
_DELTA_FIELDS = ("role", "content", "reasoning_content", "tool_calls", "refusal")


class VllmAnswer:
    """The state of one answer. `usage` is the engine's report so far, over all choices."""

    def __init__(
        self,
        model_id: str,
        choice: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the reader of a choice, that of a chat by default, and OpenAI's request for its stops and tools."""
        self._model_id = model_id
        self._choice: Callable[[Mapping[str, Any]], dict[str, Any]] = choice or _choice
        self._strict_calls = StrictCalls(body or {})
        self._stopped = _stopped_choices(body or {})
        self._input_tokens = 0
        self._cached_input_tokens = 0
        self._output_tokens: dict[int, int] = {}
        self._total_output_tokens = 0

    @property
    def usage(self) -> TokenUsage:
        """Tokens that the engine has reported so far; with stop strings, those that the answer holds."""
        if self._stopped:
            counted = sum(each.counted for each in self._stopped)
            return TokenUsage(self._input_tokens, self._cached_input_tokens, counted)
        output = max(self._total_output_tokens, sum(self._output_tokens.values()))
        return TokenUsage(self._input_tokens, self._cached_input_tokens, output)

    @property
    def stopped_early(self) -> bool:
        """Whether stop strings have ended the answer, so that the engine need not go on."""
        return all(each.ended for each in self._stopped) and any(each.stopped for each in self._stopped)

    def accept(self, event: str) -> dict[str, Any] | None:
        """Count an event of the engine and return its chunk, or None at the end.

        Raises `EngineFailed` for an error, and `EngineRefused` for a strict call that breaks its schema.
        """
        data = event.removeprefix(_EVENT_PREFIX).strip()
        if data == _END:
            return None
        chunk: dict[str, Any] = orjson.loads(data)
        if "error" in chunk:
            raise EngineFailed("The model failed to answer.")
        self._count(chunk)
        choices = [shown for each in chunk["choices"] if (shown := self._shown(each)) is not None]
        return {
            "id": chunk["id"],
            "object": "chat.completion.chunk",
            "created": chunk["created"],
            "model": self._model_id,
            "choices": choices,
            "usage": usage_object(self.usage),
        }

    def _shown(self, reported: Mapping[str, Any]) -> dict[str, Any] | None:
        choice = self._choice(reported)
        self._strict_calls.read(choice)
        if not self._stopped:
            return choice
        index: int = choice["index"]
        return self._stopped[index].accept(choice, self._output_tokens.get(index, 0))

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
        kept["logprobs"] = _of_text(_logprobs(kept["logprobs"]), kept["finish_reason"])
    return kept


def text_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choice of a text completion in the shape of a chat's; raise `EngineFailed` for another shape."""
    shown = delta_of_text(choice)
    return {**shown, "logprobs": shown["logprobs"] and _of_text(shown["logprobs"], shown["finish_reason"])}


def _of_text(logprobs: dict[str, Any], finish: str | None) -> dict[str, Any] | None:
    """Return the entries of text. The end of a choice is a token to vLLM, the last one, and nobody gets its text."""
    entries = logprobs["content"][:-1] if finish == "stop" else logprobs["content"]
    return {"content": entries} if entries else None


def _stopped_choices(body: Mapping[str, Any]) -> list[StoppedChoice]:
    stop = body.get("stop") or ()
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    shows = bool(body.get("logprobs"))
    return [StoppedChoice(stops, shows_logprobs=shows) for _ in range(body.get("n") or 1)] if stops else []


def _logprobs(logprobs: Mapping[str, Any]) -> dict[str, Any]:
    entries = logprobs.get("content") or []
    return {"content": [{**_entry(each), "top_logprobs": list(map(_entry, each["top_logprobs"]))} for each in entries]}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry.get(name) for name in ("token", "logprob", "bytes")}
