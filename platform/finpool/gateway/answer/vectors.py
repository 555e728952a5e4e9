"""Answers of embeddings and rankings: OpenAI's list, and the ranking shape of Jina, Cohere and vLLM."""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import orjson

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.serving.errors import EngineFailed
from finpool.serving.vectors import unpacked

Result = TypeVar("Result", bytes, float)


class WholeBody(Protocol):
    """Collects an engine's chunks and builds the single body of an answer."""

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's choices."""

    def body(self, usage: TokenUsage) -> bytes:
        """Return the answer; raise `EngineFailed` if a part of it is missing."""


class EmbeddingList:
    """OpenAI's list of embeddings, in the order of the inputs.

    Each vector is rendered as it arrives: thousands of vectors at once would delay all other answers.
    """

    def __init__(self, request: EmbeddingRequest, model: Model) -> None:
        self._model_id = model.id
        self._written = _Results[bytes](len(request.input))
        # Both official clients request base64 and decode it; the API's default is numbers.
        self._as_numbers = request.encoding_format != "base64"

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's vectors; raise `EngineFailed` for an invalid one."""
        for choice in choices:
            try:
                index, vector = choice["index"], choice["embedding"]
                embedding = unpacked(vector) if self._as_numbers else vector
            except (LookupError, ValueError, TypeError) as error:
                raise EngineFailed("The model failed to answer.") from error
            self._written.add(index, orjson.dumps({"object": "embedding", "index": index, "embedding": embedding}))

    def body(self, usage: TokenUsage) -> bytes:
        """Return the list; raise `EngineFailed` if a vector is missing."""
        end = orjson.dumps({"model": self._model_id, "usage": _usage_object(usage)})
        return b'{"object":"list","data":[' + b",".join(self._written.in_order()) + b"]," + end[1:]


@dataclass(frozen=True)
class RankingApi:
    """An API for rankings: the version that its answers name, and whether they hold the documents by default."""

    version: str
    returns_documents: bool


JINA = RankingApi("1", returns_documents=True)
"""The API of Jina and vLLM."""

COHERE = RankingApi("2", returns_documents=False)


class Ranking:
    """Documents by their relevance, the most relevant first; equal ones keep their order.

    The answer has the fields of each API: `usage` as Jina and vLLM have it, `meta` as Cohere has it.
    """

    def __init__(self, request: RerankRequest, model: Model, request_id: str, api: RankingApi) -> None:
        self._id = f"rerank-{request_id.removeprefix('req_')}"
        self._model_id = model.id
        self._top_n = request.top_n
        self._texts = request.texts
        self._version = api.version
        chosen = request.return_documents
        self._returns_documents = api.returns_documents if chosen is None else chosen
        self._scores = _Results[float](len(self._texts))

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's scores; raise `EngineFailed` for an invalid one."""
        for choice in choices:
            try:
                self._scores.add(choice["index"], float(choice["relevance_score"]))
            except (LookupError, ValueError, TypeError) as error:
                raise EngineFailed("The model failed to answer.") from error

    def body(self, usage: TokenUsage) -> bytes:
        """Return the ranking; raise `EngineFailed` if a score is missing."""
        scores = self._scores.in_order()
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[: self._top_n]
        results = [self._result(index, scores[index]) for index in ranked]
        head = {"id": self._id, "model": self._model_id, "results": results}
        return orjson.dumps({**head, "usage": _usage_object(usage), "meta": self._meta(usage)})

    def _meta(self, usage: TokenUsage) -> dict[str, dict[str, str | int]]:
        return {
            "api_version": {"version": self._version},
            "billed_units": {"input_tokens": usage.input_tokens},
            "tokens": {"input_tokens": usage.input_tokens},
        }

    def _result(self, index: int, score: float) -> dict[str, Any]:
        document = {"document": {"text": self._texts[index]}} if self._returns_documents else {}
        return {"index": index, "relevance_score": score, **document}


class _Results(Generic[Result]):
    """One result per input, with none missing or repeated."""

    def __init__(self, count: int) -> None:
        self._results: list[Result | None] = [None] * count

    def add(self, index: int, result: Result) -> None:
        if not 0 <= index < len(self._results) or self._results[index] is not None:
            raise EngineFailed("The model failed to answer.")
        self._results[index] = result

    def in_order(self) -> list[Result]:
        found = [each for each in self._results if each is not None]
        if len(found) < len(self._results):
            raise EngineFailed("The model failed to answer.")
        return found


def _usage_object(usage: TokenUsage) -> dict[str, int]:
    return {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
