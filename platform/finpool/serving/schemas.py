"""The interface between the gateway and its engines: headers, fields, operations and chunks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from finpool.catalogue.model.schemas import TokenUsage

WEIGHTS_HEADER = "x-finpool-weights-sha256"
"""Header of a stream: the SHA-256, in hex, of the weights that the engine has really loaded."""

COLD_START_HEADER = "x-finpool-cold-start"
"""Header of a request: the action if the engine is cold; without it the request waits for an engine replica."""

EXPECTED_SERVICE_HEADER = "x-finpool-expected-service"
"""Header of a request: its expected service, as the fair queue charged it; without it none is known."""

ColdStart = Literal["refuse", "leave"]
"""`refuse`: answer at once and wake the engine; `leave`: answer at once and let it sleep."""

ADAPTER_FIELD = "adapter"
"""Field of a request: SHA-256 of an adapter's weights, its name within the engine; absent for the base model."""

UNCOUNTED_FIELD = "uncounted"
"""Field of a request: true for the platform's own tests, which belong to no tenant and to no count."""


class Operation(StrEnum):
    """The operation of a request, with the names of the GenAI conventions."""

    CHAT = "chat"
    COMPLETE = "text_completion"
    EMBED = "embeddings"
    RERANK = "rerank"


ENGINE_PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETE: "/v1/completions",
    Operation.EMBED: "/v1/embeddings",
    Operation.RERANK: "/v1/rerank",
}
"""The path of each operation on an engine replica."""

GENERATING = frozenset({Operation.CHAT, Operation.COMPLETE})
"""The operations whose answer is generated token by token."""


@dataclass(frozen=True, slots=True)
class EngineChunks:
    """The chunks that arrived together, maybe none: the `choices` of each chunk that has any, in order.

    Of a chat these are OpenAI's. Those of a text completion have the same shape, with its text as `content`; its log
    probabilities may lack `bytes`. Of an embedding each is `{"index", "embedding"}`, the vector as
    base64 of 32-bit floats with the lowest byte first; of a ranking `{"index", "relevance_score"}`; both once for each
    input. `usage` is the engine's running count after the last chunk, or None without a report; an answer's last one is
    exact.
    """

    choices: list[list[dict[str, Any]]]
    usage: TokenUsage | None
