"""What a client sees of embeddings and rankings: OpenAI's list, and the answer that Jina, Cohere and vLLM share."""

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from finpool.catalogue.schemas import Model, TokenUsage
from finpool.gateway.pooling_schemas import EmbeddingRequest, RerankRequest
from finpool.serving.errors import EngineFailed
from finpool.serving.vector_schemas import unpacked


class WholeBody(Protocol):
    """Puts the one body of a whole answer together out of what an engine sends."""

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's choices."""

    def body(self, usage: TokenUsage) -> bytes:
        """Return the answer; raises `EngineFailed` if something is missing from it."""


class EmbeddingList:
    """OpenAI's list of embeddings, each in its input's place."""

    def __init__(self, request: EmbeddingRequest, model: Model) -> None:
        self._model_id = model.id
        self._results = _Results(len(request.input))
        # Both official clients ask for base64 and decode it themselves; the API's own default are numbers.
        self._written: Callable[[str], Any] = str if request.encoding_format == "base64" else unpacked

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's vectors."""
        self._results.add(choices)

    def body(self, usage: TokenUsage) -> bytes:
        """Return the list; raises `EngineFailed` if a vector is missing or is none."""
        try:
            data = [
                {"object": "embedding", "index": index, "embedding": self._written(each["embedding"])}
                for index, each in enumerate(self._results.in_order())
            ]
        except (LookupError, ValueError, TypeError) as error:
            raise EngineFailed("The model failed to answer.") from error
        return orjson.dumps({"object": "list", "data": data, "model": self._model_id, "usage": _usage_object(usage)})


class Ranking:
    """Documents by their relevance, the most relevant first; equal ones as they were given."""

    def __init__(self, request: RerankRequest, model: Model, request_id: str) -> None:
        self._id = f"rerank-{request_id.removeprefix('req_')}"
        self._model_id = model.id
        self._top_n = request.top_n
        self._texts = request.texts
        self._returns_documents = bool(request.return_documents)
        self._results = _Results(len(self._texts))

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Add one chunk's scores."""
        self._results.add(choices)

    def body(self, usage: TokenUsage) -> bytes:
        """Return the ranking; raises `EngineFailed` if a score is missing or is none."""
        try:
            scores = [float(each["relevance_score"]) for each in self._results.in_order()]
        except (LookupError, ValueError, TypeError) as error:
            raise EngineFailed("The model failed to answer.") from error
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[: self._top_n]
        results = [self._result(index, scores[index]) for index in ranked]
        body = {"id": self._id, "model": self._model_id, "results": results, "usage": _usage_object(usage)}
        return orjson.dumps(body)

    def _result(self, index: int, score: float) -> dict[str, Any]:
        document = {"document": {"text": self._texts[index]}} if self._returns_documents else {}
        return {"index": index, "relevance_score": score, **document}


class _Results:
    """What came for each input."""

    def __init__(self, count: int) -> None:
        self._results: list[dict[str, Any] | None] = [None] * count
        self._missing = count

    def add(self, choices: list[dict[str, Any]]) -> None:
        for choice in choices:
            index = choice["index"]
            if not 0 <= index < len(self._results) or self._results[index] is not None:
                raise EngineFailed("The model failed to answer.")
            self._results[index] = choice
            self._missing -= 1

    def in_order(self) -> list[dict[str, Any]]:
        if self._missing:
            raise EngineFailed("The model failed to answer.")
        return [each for each in self._results if each is not None]


def _usage_object(usage: TokenUsage) -> dict[str, int]:
    return {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
