"""The assembly of streamed chunks into the single answer of a plain request."""

from typing import Any

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.answer.render import Renderer


class Assembler:
    """Sums deltas per choice: text, reasoning, refusals, tool calls by their index, log probabilities."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's choices."""
        for part in choices:
            choice = self._choices.setdefault(part["index"], _new_choice(part["index"]))
            _add_delta(choice["message"], part.get("delta") or {})
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
            if part.get("logprobs") is not None:
                _add_logprobs(choice, part["logprobs"])

    def choices(self) -> list[dict[str, Any]]:
        """Return the finished choices, in order."""
        return [self._choices[index] for index in sorted(self._choices)]


class Completion:
    """The body of a plain chat completion."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._assembler = Assembler()

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's choices."""
        self._assembler.add(choices)

    def body(self, usage: TokenUsage) -> bytes:
        """Return the finished completion."""
        return self._renderer.completion(self._assembler.choices(), usage)


def _new_choice(index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for field in ("content", "refusal", "reasoning", "reasoning_content"):
        if delta.get(field) is not None:
            message[field] = (message.get(field) or "") + delta[field]
    for part in delta.get("tool_calls") or []:
        calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
        while len(calls) <= part["index"]:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = calls[part["index"]]
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _add_logprobs(choice: dict[str, Any], logprobs: dict[str, Any]) -> None:
    held = choice["logprobs"] or {"content": None, "refusal": None}
    for field in ("content", "refusal"):
        if logprobs.get(field) is not None:
            held[field] = (held[field] or []) + logprobs[field]
    choice["logprobs"] = held
