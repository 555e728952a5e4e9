"""Embedding and ranking on a remote engine: the request and its single answer (ADR 0021)."""

import math
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import orjson

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.clock import monotonic_seconds
from finpool.serving.backend.reading import BUSY, busy, read_body, status_of
from finpool.serving.backend.remote import remote_refusal
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import EngineChunks, Operation
from finpool.serving.transport.connection import HttpCall
from finpool.serving.vectors import packed

REMOTE_VECTOR_PATHS = {Operation.EMBED: "/embeddings", Operation.RERANK: "/rerank"}
ANSWER_BYTES_MAX = 268_435_456
"""An upper bound for 2,048 vectors of 4,096 numbers in decimal digits."""

_FIELDS = {
    Operation.EMBED: frozenset({"input", "dimensions"}),
    Operation.RERANK: frozenset({"query", "documents"}),
}
_LONG_PARAMS = {Operation.EMBED: "input", Operation.RERANK: "documents"}


def remote_vector_request(operation: Operation, body: Mapping[str, Any], engine: OpenAiEngine) -> dict[str, Any]:
    """Return the request for the remote engine; `cache_salt` is dropped unless declared."""
    known = _FIELDS[operation] | (engine.extensions & {"cache_salt"})
    request = {name: value for name, value in body.items() if name in known}
    options: dict[str, Any] = {"encoding_format": "float"} if operation is Operation.EMBED else {}
    return {**request, **options, "model": engine.model}


class RemoteResults(AsyncIterator[EngineChunks]):
    """A remote engine's single answer: all results and the usage. An answer without a usage count is a failure."""

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
        """Wait for the answer's status; raise the error of a refusal or a failure."""
        status = await status_of(self._call, self._begin_by - monotonic_seconds())
        if status != 200:
            await read_body(self._call, self._body, self._read_seconds_max)
            if status == BUSY:
                raise busy(self._call)
            raise remote_refusal(status, bytes(self._body), _LONG_PARAMS[self._operation])

    @property
    def more_is_here(self) -> bool:
        """Whether the answer is complete."""
        return self._done

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EngineChunks:
        """Return all results at once; raise `EngineFailed` for an answer that does not match the request."""
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
        """Close the connection, which aborts the request if the remote engine has not answered."""
        self._call.close()


def _vector(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": int(result["index"]), "embedding": b64encode(packed(result["embedding"])).decode()}


def _score(result: Mapping[str, Any]) -> dict[str, Any]:
    score = float(result["relevance_score"])
    if not math.isfinite(score):
        raise ValueError("a score is a finite number")
    return {"index": int(result["index"]), "relevance_score": score}


def _usage_of(reported: Mapping[str, Any]) -> TokenUsage:
    """Return the usage; some engines report only `total_tokens` for a ranking."""
    tokens = reported.get("prompt_tokens")
    tokens = reported["total_tokens"] if tokens is None else tokens
    if type(tokens) is not int:
        raise TypeError("token counts are whole numbers")
    return TokenUsage(tokens, 0, 0)
