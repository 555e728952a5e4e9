"""What an engine sends, as its callers get it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from finpool.catalogue.model.schemas import TokenUsage

WEIGHTS_HEADER = "x-finpool-weights-sha256"
"""The header of a stream in which an engine says which weights it has really loaded: their SHA-256 in hex."""

COLD_START_HEADER = "x-finpool-cold-start"
"""What whoever asks an engine that sleeps wants done; without it the request waits until the engine is awake."""

EXPECTED_SERVICE_HEADER = "x-finpool-expected-service"
"""The service that the gateway expects a request to take, as its fair queue charged it; without it nothing is known."""

ColdStart = Literal["refuse", "leave"]
"""`refuse`: answer at once and wake the engine; `leave`: answer at once and let it sleep."""

ADAPTER_FIELD = "adapter"
"""Field of a request to an engine: SHA-256 of an adapter's weights, its name within the engine; absent for the base."""

UNCOUNTED_FIELD = "uncounted"
"""Field of a request to an engine: true for the platform's own tests, which no tenant used and no counter counts."""


class Operation(StrEnum):
    """What an engine is asked for, named as the GenAI conventions name it."""

    CHAT = "chat"
    EMBED = "embeddings"
    RERANK = "rerank"


ENGINE_PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.EMBED: "/v1/embeddings",
    Operation.RERANK: "/v1/rerank",
}
"""Where a replica takes each of them."""


@dataclass(frozen=True, slots=True)
class EngineChunks:
    """The chunks that arrived together, maybe none: the `choices` of each that has any, in order.

    Of a chat these are OpenAI's. Of an embedding each is `{"index", "embedding"}`, the vector as base64 of 32-bit
    floats with the lowest byte first; of a ranking `{"index", "relevance_score"}`; both once for each input.
    `usage` is the engine's running count after the last of them, None where it said nothing; the last of an answer is
    exact.
    """

    choices: list[list[dict[str, Any]]]
    usage: TokenUsage | None


class EngineStream(Protocol):
    """An answer that an engine was asked for. Whoever waits for it may give up and wait again: nothing is lost."""

    async def begun(self) -> None:
        """Wait until it begins; raises `EngineRefused`, `EngineUnavailable` or `EngineFailed` if it does not."""

    def __aiter__(self) -> AsyncIterator[EngineChunks]:
        """Iterate over the chunks; raises `EngineFailed` if the engine breaks off."""

    @property
    def more_is_here(self) -> bool:
        """Tell whether more, or the end, has arrived already: what arrived together may be passed on together."""

    @property
    def estimates(self) -> bool:
        """Tell whether the usage so far is an estimate, because the engine has reported none."""

    def close(self) -> None:
        """Take no more; the engine stops generating."""
