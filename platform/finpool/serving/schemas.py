"""What an engine sends, as its callers get it."""

from dataclasses import dataclass
from typing import Any

from finpool.catalogue.schemas import TokenUsage


@dataclass(frozen=True, slots=True)
class EngineChunk:
    """One `chat.completion.chunk` as the engine sent it, `usage` removed, and the count up to it.

    The last chunk of an answer has `choices: []` and the exact usage. `usage` is None where the engine said nothing.
    """

    data: dict[str, Any]
    usage: TokenUsage | None


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
