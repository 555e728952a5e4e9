"""The answer of a text completion in OpenAI's older shape: texts, and log probabilities as parallel lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.answer.render import Renderer
from finpool.gateway.request.completion import CompletionRequest
from finpool.serving.errors import EngineFailed

_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


class TextChoices:
    """The choices of an answer, read from the engine's parts.

    With `echo` the first part of a choice begins with its prompt. Every entry of `text_offset` is a place in the
    choice's whole text.
    """

    def __init__(self, request: CompletionRequest) -> None:
        self._prompts: Sequence[str] = request.prompt
        self._each = request.choices
        self._echo = request.echo is True
        self._characters: dict[int, int] = {}

    @property
    def missing(self) -> int:
        """The number of choices that have no part yet."""
        return len(self._prompts) * self._each - len(self._characters)

    def shown(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return OpenAI's parts; one without text, entries and end is left out. Raises `EngineFailed` for a bad one."""
        try:
            found = [self._shown(part) for part in parts]
        except (LookupError, TypeError, AttributeError) as error:
            raise EngineFailed("The model failed to answer.") from error
        return [each for each in found if each["text"] or each["logprobs"] or each["finish_reason"] is not None]

    def _shown(self, part: Mapping[str, Any]) -> dict[str, Any]:
        index = part["index"]
        if not 0 <= index < len(self._prompts) * self._each:
            raise LookupError("the engine answers a prompt that was not sent")
        begins = index not in self._characters
        prompt = self._prompts[index // self._each] if begins and self._echo else ""
        start = self._characters.get(index, 0) + len(prompt)
        text = (part.get("delta") or {}).get("content") or ""
        entries = (part.get("logprobs") or {}).get("content")
        self._characters[index] = start + len(text)
        return {
            "index": index,
            "text": prompt + text,
            "logprobs": _logprobs(entries, text, start) if entries else None,
            "finish_reason": part.get("finish_reason"),
        }


class TextRenderer:
    """The events of a streamed text completion."""

    def __init__(self, renderer: Renderer, request: CompletionRequest) -> None:
        self._renderer = renderer
        self._choices = TextChoices(request)

    def chunk(self, choices: list[dict[str, Any]]) -> bytes:
        """Return one server-sent event, or nothing; raise `EngineFailed` for a choice that was not asked for."""
        shown = self._choices.shown(choices)
        return self._renderer.chunk(shown) if shown else b""

    def usage_chunk(self, usage: TokenUsage) -> bytes:
        """Return the final event with the usage, or nothing unless the client requested it."""
        return self._renderer.usage_chunk(usage)


@dataclass
class _Held:
    """The parts of one choice."""

    texts: list[str] = field(default_factory=list)
    logprobs: dict[str, list[Any]] | None = None
    finish_reason: str | None = None

    def add(self, part: Mapping[str, Any]) -> None:
        self.texts.append(part["text"])
        self.finish_reason = part["finish_reason"] or self.finish_reason
        if part["logprobs"] is not None:
            self.logprobs = self.logprobs or {name: [] for name in _LISTS}
            for name in _LISTS:
                self.logprobs[name] += part["logprobs"][name]

    def whole(self, index: int) -> dict[str, Any]:
        text = "".join(self.texts)
        return {"index": index, "text": text, "logprobs": self.logprobs, "finish_reason": self.finish_reason}


class TextCompletion:
    """The body of a plain text completion."""

    def __init__(self, renderer: Renderer, request: CompletionRequest) -> None:
        self._renderer = renderer
        self._choices = TextChoices(request)
        self._held: dict[int, _Held] = {}

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's choices; raise `EngineFailed` for one that was not asked for."""
        for part in self._choices.shown(choices):
            self._held.setdefault(part["index"], _Held()).add(part)

    def body(self, usage: TokenUsage) -> bytes:
        """Return the finished completion; raise `EngineFailed` if a choice is missing."""
        if self._choices.missing:
            raise EngineFailed("The model failed to answer.")
        return self._renderer.completion([held.whole(index) for index, held in sorted(self._held.items())], usage)


def _logprobs(entries: Sequence[Mapping[str, Any]], text: str, start: int) -> dict[str, list[Any]]:
    """Return the four lists for a part with that text, which starts at `start` in the choice's text."""
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
    spelled = b""
    for entry in entries:
        # A stop string may cut the last token, and a character of several tokens begins with the first of them.
        characters = len(spelled.decode("utf-8", "ignore"))
        lists["text_offset"].append(start + min(characters, len(text)))
        lists["tokens"].append(entry["token"])
        lists["token_logprobs"].append(entry["logprob"])
        lists["top_logprobs"].append(_alternatives(entry))
        spelled += bytes(entry["bytes"]) if "bytes" in entry else entry["token"].encode()
    return lists


def _alternatives(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the most probable tokens with the token itself; of two with one spelling the more probable stays."""
    found: dict[str, float] = {}
    for each in (*entry["top_logprobs"], entry):
        found[each["token"]] = max(each["logprob"], found.get(each["token"], each["logprob"]))
    return found
