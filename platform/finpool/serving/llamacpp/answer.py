"""The answer of llama.cpp as OpenAI's chunks, each with the usage so far."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.engine.prompts import PROMPT_FIELD
from finpool.serving.engine.stops import Piece, StopSearch
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineFailed, EngineRefused
from finpool.serving.llamacpp.calls import CallReader
from finpool.serving.llamacpp.logprobs import entries
from finpool.serving.llamacpp.tools import offered
from finpool.serving.llamacpp.vocabulary import Vocabulary

_LENGTH_OF = {"messages": "the messages have", PROMPT_FIELD: "a prompt has"}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of an answer, as its request wants it.

    `alternatives` is the number of alternatives for each token, or None without log probabilities. With `markup` the
    answer may hold calls of tools: the tokens around a call's name and arguments are a part of the call. `asked` is the
    field of the request that the answer follows.
    """

    choices: int = 1
    stops: tuple[str, ...] = ()
    alternatives: int | None = None
    markup: bool = False
    asked: str = "messages"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "AnswerForm":
        """Return the form that OpenAI's request `body` wants."""
        stop = body.get("stop") or ()
        return cls(
            choices=body.get("n") or 1,
            stops=(stop,) if isinstance(stop, str) else tuple(stop),
            alternatives=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
            markup=bool(offered(body)),
            asked=PROMPT_FIELD if PROMPT_FIELD in body else "messages",
        )


class _Choice:
    """One choice: `computed` counts the engine's tokens, `counted` those that are charged."""

    def __init__(self, form: AnswerForm) -> None:
        self.search = StopSearch(form.stops)
        self.reader = CallReader() if form.markup else None
        self.computed = self.counted = 0
        self.introduced = self.ended = False


class LlamaCppAnswer:
    """The state of one answer. `usage` counts the tokens that the answer holds so far, over all choices.

    A choice's tokens are those whose text it holds, and one for its end: the end-of-sequence token, or the first one
    of a stop string. An answer that its length limit cuts has no end. With n > 1 llama.cpp computes the prompt once and
    copies it for the other choices, so it counts once. The prompt counts in full as soon as the engine begins it. None
    counts as cached: llama.cpp finds only earlier steps of the same prompt in the slot.
    `refusal` is the error to raise if the engine refuses the request.
    """

    def __init__(
        self,
        model_id: str,
        answer_id: str,
        refusal: EngineRefused,
        vocabulary: Vocabulary,
        form: AnswerForm,
    ) -> None:
        self.refusal = refusal
        self._vocabulary = vocabulary
        self._form = form
        self._constant = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model_id,
        }
        self._input_tokens = 0
        self._choices = [_Choice(form) for _ in range(form.choices)]
        self._last = self._choices[0]

    @property
    def usage(self) -> TokenUsage:
        """The tokens of the answer so far."""
        output = sum(choice.counted for choice in self._choices)
        return TokenUsage(self._input_tokens, 0, output)

    @property
    def stopped_early(self) -> bool:
        """Whether stop strings have ended the answer, so that the engine need not go on."""
        return all(choice.ended for choice in self._choices) and any(choice.search.found for choice in self._choices)

    def accept(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """Count a chunk of the engine and return the caller's chunks.

        Raises `EngineRefused` or `EngineFailed` if the chunk is an error.
        """
        if "error" in chunk:
            raise self._error(chunk["error"])
        if progress := chunk.get("prompt_progress"):
            self._input_tokens = max(self._input_tokens, progress["total"])
        # The exact usage of a choice has no index; it follows directly after the choice's last chunk.
        if exact := chunk.get("usage"):
            self._input_tokens = max(self._input_tokens, exact["prompt_tokens"])
            if self._last.reader is not None and self._last.reader.calls:
                self._last.counted = max(self._last.counted, exact["completion_tokens"])
        found: list[dict[str, Any]] = []
        for part in chunk.get("choices") or []:
            self._last = self._choices[part["index"]]
            for delta in self._deltas(self._last, part, (chunk.get("timings") or {}).get("predicted_n")):
                shown = {"index": part["index"], "finish_reason": None, **delta}
                found.append({**self._constant, "choices": [shown], "usage": usage_object(self.usage)})
        return found

    def conclusion(self) -> dict[str, Any]:
        """Return the last chunk: no choices, the exact usage."""
        return {**self._constant, "choices": [], "usage": usage_object(self.usage)}

    def _deltas(self, choice: _Choice, part: Mapping[str, Any], computed: int | None) -> Iterator[dict[str, Any]]:
        """Yield the parts of a choice for the caller, each after its tokens are counted."""
        if choice.ended:
            return  # The engine did not know that a stop string had ended the choice.
        delta = {name: value for name, value in _delta_of(part).items() if value is not None}
        if not choice.introduced:
            choice.introduced = True
            # An answer that calls tools has no content, as OpenAI's.
            yield {"delta": {"role": "assistant", "content": "" if choice.reader is None else None}}
        delta.pop("role", None)
        new_tokens = max(computed or 0, choice.computed) - choice.computed
        choice.computed += new_tokens
        if text := delta.pop("content", ""):
            piece = Piece(text, choice.computed, self._logprobs(part, text, new_tokens))
            yield from self._shown(choice, [piece] if choice.reader is None else choice.reader.feed(piece))
        if delta:
            choice.counted = choice.computed
            yield {"delta": delta}
        if choice.search.found:
            yield from self._end(choice, "stop")
        elif part.get("finish_reason") is not None:
            yield from self._shown(choice, [] if choice.reader is None else choice.reader.flush())
            yield from map(partial(self._text, choice), choice.search.flush())
            yield from self._end(choice, part["finish_reason"])

    def _shown(self, choice: _Choice, parts: Iterable[Piece | dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield parts of calls at once, and text as far as no stop string can reach it: a stop ends no call."""
        for part in parts:
            if isinstance(part, Piece):
                yield from map(partial(self._text, choice), choice.search.feed(part))
            else:
                choice.counted = choice.computed
                yield {"delta": part}
            if choice.search.found:
                return

    def _text(self, choice: _Choice, piece: Piece) -> dict[str, Any]:
        choice.counted = piece.tokens
        shown: dict[str, Any] = {"delta": {"content": piece.text}}
        return shown if self._form.alternatives is None else {**shown, "logprobs": {"content": piece.logprobs}}

    def _end(self, choice: _Choice, reason: str) -> Iterator[dict[str, Any]]:
        if choice.reader is not None and choice.reader.calls and reason == "stop":
            reason = "tool_calls"
        choice.ended = True
        if choice.search.found:
            reason = "stop"
            choice.counted = min(choice.counted + 1, choice.computed)
        elif reason != "length":
            choice.counted += 1
        yield {"delta": {}, "finish_reason": reason}

    def _logprobs(self, part: Mapping[str, Any], text: str, tokens: int) -> list[dict[str, Any]]:
        if self._form.alternatives is None:
            return []
        reported = (part.get("logprobs") or {}).get("content") or []
        return entries(reported, text, max(tokens, 1), self._vocabulary, self._form.alternatives)

    def _error(self, error: dict[str, Any]) -> EngineRefused | EngineFailed:
        if error.get("type") == "exceed_context_size_error":
            return EngineRefused(
                f"This model's maximum context length is {error['n_ctx']} tokens, but {_LENGTH_OF[self._form.asked]}"
                f" {error['n_prompt_tokens']} tokens.",
                code=CONTEXT_LENGTH_EXCEEDED,
                param=self._form.asked,
            )
        if error.get("code") == 400:
            return self.refusal
        return EngineFailed("The model failed to answer.")


def _delta_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the delta of a choice; in a text completion llama.cpp writes its text only."""
    return part["delta"] if "delta" in part else {"content": part["text"]}
