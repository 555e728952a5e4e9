"""What an engine sends, as its callers get it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from finpool.catalogue.schemas import TokenUsage


@dataclass(frozen=True, slots=True)
class EngineChunk:
    """One `chat.completion.chunk` as the engine sent it, `usage` removed, and the count up to it.

    The last chunk of an answer has `choices: []` and the exact usage. `usage` is None where the engine said nothing.
    """

    data: dict[str, Any]
    usage: TokenUsage | None


class EngineStream(Protocol):
    """The chunks of one answer; iterating raises `EngineFailed` if the engine breaks it off."""

    def __aiter__(self) -> AsyncIterator[EngineChunk]:
        """Iterate over the chunks."""

    @property
    def more_is_here(self) -> bool:
        """Tell whether the next chunk has arrived already: what arrived together may be passed on together."""


@dataclass(slots=True)
class Counters:
    """What the engine has computed since it started, health checks left out.

    `running` counts the generations that the engine has not left yet: while it is 0, no other count moves.
    """

    running: int = 0
    requests: int = 0
    aborted: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
