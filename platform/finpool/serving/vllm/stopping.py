"""Stop strings in vLLM's answers: searched here, so that a choice is charged for the tokens that it holds.

vLLM would count every token of a stop string, and those of the text that it held back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finpool.serving.engine.stops import Piece, StopSearch


class StoppedChoice:
    """One choice of an answer with stop strings; `counted` are the tokens to charge."""

    def __init__(self, stops: Sequence[str], *, shows_logprobs: bool) -> None:
        """Take the stop strings. Each token's entry comes in any case, because it shows where a token ends."""
        self._search = StopSearch(stops)
        self._shows_logprobs = shows_logprobs
        self._computed = 0
        self.counted = 0
        self.ended = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the choice."""
        return self._search.found

    def accept(self, choice: Mapping[str, Any], computed: int) -> dict[str, Any] | None:
        """Return the choice up to a stop string, or None behind it; `computed` are the engine's tokens so far."""
        if self.ended:
            return None
        delta = dict(choice["delta"])
        entries = (choice["logprobs"] or {}).get("content") or []
        released: list[Piece] = []
        text = delta.get("content", "")
        if text:
            del delta["content"]
        for piece in _pieces(text, entries, self._computed, computed):
            released += self._search.feed(piece)
            if self._search.found:
                break
        self._computed, finish = computed, choice["finish_reason"]
        if finish is not None:
            released += self._search.flush()
        if released:
            self.counted = released[-1].tokens
            delta["content"] = "".join(piece.text for piece in released)
        if self._search.found:
            finish = "stop"
            self.counted = min(self.counted + 1, computed)
        elif finish is not None or delta.keys() - {"role", "content"}:
            self.counted = computed
        self.ended = finish is not None
        shown = [entry for piece in released for entry in piece.logprobs]
        logprobs = {"content": shown} if self._shows_logprobs and shown else None
        return {**choice, "delta": delta, "finish_reason": finish, "logprobs": logprobs}


def _pieces(text: str, entries: Sequence[dict[str, Any]], before: int, computed: int) -> Iterator[Piece]:
    """Yield a piece for each token, or one for all if their entries do not spell the text."""
    if "".join(entry["token"] for entry in entries) != text:
        yield Piece(text, computed, list(entries))
        return
    for number, entry in enumerate(entries, before + 1):
        yield Piece(entry["token"], number, [entry])
