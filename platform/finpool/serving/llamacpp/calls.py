"""The reader of tool calls in an answer's text, as it arrives."""

import re
from collections.abc import Iterator
from typing import Any

from finpool.kernel.ids import new_id
from finpool.serving.engine.stops import Piece
from finpool.serving.llamacpp.tools import OPENING

_HEAD = re.compile(re.escape(OPENING) + r'\n\{"name": "([^"]*)", "arguments": ')


class CallReader:
    """The calls in one choice. The grammar wrote them, so an answer that begins with a call holds calls only."""

    def __init__(self) -> None:
        self.calls = 0
        self._held: list[Piece] = []
        """The first pieces, as long as they may be the beginning of a call."""
        self._is_text = self._is_calls = False
        self._rest = ""
        self._in_arguments = False
        self._depth = 0
        """Open objects and lists of the arguments."""
        self._in_string = self._escaped = False

    def feed(self, piece: Piece) -> Iterator[Piece | dict[str, Any]]:
        """Yield the pieces of free text, or the deltas of calls, that are certain now."""
        if self._is_text:
            yield piece
            return
        self._rest += piece.text
        if not self._is_calls:
            self._held.append(piece)
            if not OPENING.startswith(self._rest[: len(OPENING)]):
                yield from self.flush()
                return
            if len(self._rest) < len(OPENING):
                return
            self._is_calls, self._held = True, []
        yield from self._read()

    def flush(self) -> list[Piece]:
        """Return text that might have become a call; at the end, or because it has become something else."""
        self._is_text = not self._is_calls
        held, self._held = self._held, []
        return held

    def _read(self) -> Iterator[dict[str, Any]]:
        while True:
            if not self._in_arguments:
                head = _HEAD.search(self._rest)
                if head is None:
                    return
                self._rest = self._rest[head.end() :]
                self._in_arguments = True
                self.calls += 1
                yield self._delta(id=new_id("call"), type="function", function={"name": head[1], "arguments": ""})
            end = self._end_of_arguments()
            part, self._rest = self._rest[:end], self._rest[end:]
            if part:
                yield self._delta(function={"arguments": part})
            if self._in_arguments:
                return

    def _end_of_arguments(self) -> int:
        """Return the position behind the arguments in the text that is left, or its length if they go on."""
        for position, character in enumerate(self._rest):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._in_arguments = False
                    return position + 1
        return len(self._rest)

    def _delta(self, **fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": self.calls - 1, **fields}]}
