"""Embedding and ranking by somebody else's engine: what it is asked, and how its one answer is read (ADR 0021)."""

import math
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import orjson

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.clock import monotonic_seconds
from finpool.serving.backend.reading import read_body, status_of
from finpool.serving.backend.remote import remote_refusal
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import EngineChunks, Operation
from finpool.serving.transport.connection import HttpCall
from finpool.serving.vectors import packed

REMOTE_VECTOR_PATHS = {Operation.EMBED: "/embeddings", Operation.RERANK: "/rerank"}
ANSWER_BYTES_MAX = 268_435_456
"""As much as 2,048 vectors of 4,096 numbers take in decimal digits, and some more."""

_FIELDS = {
    Operation.EMBED: frozenset({"input", "dimensions"}),
    Operation.RERANK: frozenset({"query", "documents"}),
}
_LONG_PARAMS = {Operation.EMBED: "input", Operation.RERANK: "documents"}


def remote_vector_request(operation: Operation, body: Mapping[str, Any], engine: OpenAiEngine) -> dict[str, Any]:
    """Return the request for the other side; the gateway's salt stays here unless it is declared."""
    known = _FIELDS[operation] | (engine.extensions & {"cache_salt"})
    request = {name: value for name, value in body.items() if name in known}
    options: dict[str, Any] = {"encoding_format": "float"} if operation is Operation.EMBED else {}
    return {**request, **options, "model": engine.model}


class RemoteResults(AsyncIterator[EngineChunks]):
    """The one answer of a remote engine, whole: its results, and what it counted. Without a count it has failed."""

    estimates = False

    def __init__(
        self,
        call: HttpCall,
        operation: Operation,
        *,
        results: int,
        begin_seconds_max: float,
        read_seconds_max: float,
    ) -> None:
        self._call = call
        self._operation = operation
        self._results = results
        self._begin_by = monotonic_seconds() + begin_seconds_max
        self._read_seconds_max = read_seconds_max
        self._body = bytearray()
        self._done = False

    async def begun(self) -> None:
        """Wait until it begins to answer; raises what it failed with."""
        status = await status_of(self._call, self._begin_by - monotonic_seconds())
        if status != 200:
            await read_body(self._call, self._body, self._read_seconds_max)
            raise remote_refusal(status, bytes(self._body), _LONG_PARAMS[self._operation])

    @property
    def more_is_here(self) -> bool:
        """Tell whether the end has come."""
        return self._done

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EngineChunks:
        """Return everything at once; raises `EngineFailed` for an answer that is not what was asked for."""
        if self._done:
            raise StopAsyncIteration
        await read_body(self._call, self._body, self._read_seconds_max, bytes_max=ANSWER_BYTES_MAX)
        self._done = True
        try:
            answer = orjson.loads(self._body)
            read = _vector if self._operation is Operation.EMBED else _score
            choices = [read(each) for each in answer["data" if self._operation is Operation.EMBED else "results"]]
            usage = _usage_of(answer["usage"])
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise EngineFailed("The model failed to answer.") from error
        if sorted(choice["index"] for choice in choices) != list(range(self._results)):
            raise EngineFailed("The model failed to answer.")
        return EngineChunks([choices], usage)

    def close(self) -> None:
        """Take no more; the other side is told by the connection's end if it had not answered."""
        self._call.close()


def _vector(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": int(result["index"]), "embedding": b64encode(packed(result["embedding"])).decode()}


def _score(result: Mapping[str, Any]) -> dict[str, Any]:
    score = float(result["relevance_score"])
    if not math.isfinite(score):
        raise ValueError("a score is a finite number")
    return {"index": int(result["index"]), "relevance_score": score}


def _usage_of(reported: Mapping[str, Any]) -> TokenUsage:
    """Read a count of input tokens: some engines report a ranking's in total only."""
    tokens = reported.get("prompt_tokens")
    tokens = reported["total_tokens"] if tokens is None else tokens
    if type(tokens) is not int:
        raise TypeError("token counts are whole numbers")
    return TokenUsage(tokens, 0, 0)
