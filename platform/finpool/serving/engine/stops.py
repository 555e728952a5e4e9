"""The search for stop strings in an answer: one rule for every engine, token by token.

An engine that searched itself would hold text back and merge tokens, so nobody could count the delivered ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Piece:
    """The text that one token adds to a choice; a character of several tokens is one piece.

    `tokens` counts the choice's tokens up to this piece.
    """

    text: str
    tokens: int
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class StopSearch:
    """The text of one choice before its first stop string. `found` tells whether there was one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held: list[Piece] = []
        self.found = False

    def feed(self, piece: Piece) -> list[Piece]:
        """Return the pieces that no stop string can reach any more, in order."""
        if not self._stops:
            return [piece]
        self._held.append(piece)
        text = "".join(each.text for each in self._held)
        positions = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if positions:
            self.found = True
            released, self._held = _before(self._held, min(positions)), []
            return released
        return self._release(self._possible_start(text))

    def flush(self) -> list[Piece]:
        """Return the rest at the choice's end."""
        released, self._held = self._held, []
        return released

    def _possible_start(self, text: str) -> int:
        """Return the first position from which the text's end may become a stop string."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stops):
                return start
        return len(text)

    def _release(self, end: int) -> list[Piece]:
        """Return the held pieces that end at or before `end`, and hold the others."""
        position = 0
        for number, piece in enumerate(self._held):
            position += len(piece.text)
            if position > end:
                released, self._held = self._held[:number], self._held[number:]
                return released
        return self.flush()


def _before(pieces: list[Piece], end: int) -> list[Piece]:
    """Return the pieces before `end`, the last one shortened."""
    released, position = [], 0
    for piece in pieces:
        if position >= end:
            break
        released.append(replace(piece, text=piece.text[: end - position]))
        position += len(piece.text)
    return released
