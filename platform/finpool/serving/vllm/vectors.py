"""vLLM as an engine for embedding and rerank models, inside a replica that `ray.serve.llm` has started."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from ray.llm._internal.serve.core.configs.openai_api_models import (
    EmbeddingCompletionRequest,
    ErrorResponse,
    ScoreRequest,
)

from finpool.catalogue.model.schemas import Model
from finpool.serving.engine.cosine import CosineScores
from finpool.serving.engine.counters import Counters, counters_for
from finpool.serving.engine.vectors import (
    Compute,
    Pooled,
    VectorRun,
    documents_of,
    gives_a_result,
    inputs_of,
    too_long,
    unsupported,
)
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import ADAPTER_FIELD

PIECE_INPUTS = 32
"""Inputs of one request that vLLM is given at a time: enough for a batch, and all that is computed in vain if its
client leaves."""

PROBE_TEXT = "Hello"


class VectorServer(Protocol):
    """What is used of Ray's engine object."""

    def embeddings(self, request: EmbeddingCompletionRequest) -> AsyncGenerator[Any, None]:
        """Yield one `EmbeddingResponse` or one `ErrorResponse`."""

    def score(self, request: ScoreRequest) -> AsyncGenerator[Any, None]:
        """Yield one `ScoreResponse` or one `ErrorResponse`."""


class VllmVectors:
    """The engine. All methods belong to one event loop; vLLM computes in processes of its own."""

    def __init__(self, model: Model, server: VectorServer, *, base_name: str, adapters: frozenset[str]) -> None:
        """`base_name` is what the engine calls the model itself, `adapters` the SHA-256 of those that are loaded."""
        self.model = model
        self.counters = Counters()
        self._server = server
        self._base_name = base_name
        self._adapters = adapters

    def generate(self, body: Mapping[str, Any]) -> VectorRun:
        """Raise `EngineRefused`: the model does not chat."""
        raise unsupported(self.model.id, "chat")

    def embed(self, body: Mapping[str, Any]) -> VectorRun:
        """Start to embed; raise `EngineRefused` for what this engine cannot do."""
        if self.model.kind != "embedding":
            raise unsupported(self.model.id, "give embeddings")
        compute = self._embedding(self._name(body), body.get("dimensions"))
        return self._start(compute, inputs_of(body), counters_for(body, self.counters))

    def rerank(self, body: Mapping[str, Any]) -> VectorRun:
        """Start to rank; raise `EngineRefused` for what this engine cannot do."""
        if self.model.kind != "rerank":
            raise unsupported(self.model.id, "rank documents")
        query, documents = documents_of(body)
        return self._start(self._scores(self._name(body), query), documents, counters_for(body, self.counters))

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Raise `EngineRefused`: only conversations are counted beforehand."""
        raise unsupported(self.model.id, "chat")

    async def healthy(self) -> bool:
        """Tell whether the engine gives a vector or a score now; it waits for its turn, as any request does."""
        ranks = self.model.kind == "rerank"
        compute = self._scores(self._base_name, PROBE_TEXT) if ranks else self._embedding(self._base_name, None)
        return await gives_a_result(VectorRun(compute, [PROBE_TEXT], Counters(), piece_inputs=PIECE_INPUTS))

    def _start(self, compute: Compute, inputs: list[str], counters: Counters) -> VectorRun:
        run = VectorRun(compute, inputs, counters, piece_inputs=PIECE_INPUTS)
        counters.requests += 1
        return run

    def _name(self, body: Mapping[str, Any]) -> str:
        """Return what the engine calls the model; raises `EngineUnavailable` for an adapter that it could not load."""
        adapter: str | None = body.get(ADAPTER_FIELD)
        if adapter is None:
            return self._base_name
        if adapter not in self._adapters:
            raise EngineUnavailable("The adapter is not loaded.")
        return adapter

    def _embedding(self, name: str, dimensions: int | None) -> Compute:
        return partial(self._embed, name, dimensions)

    def _scores(self, name: str, query: str) -> Compute:
        # vLLM compares vectors as well, but counts the query once for each document, which it does not compute.
        if self.model.ranks_by_cosine:
            return CosineScores(self._embedding(name, None), query)
        return partial(self._rerank, name, query)

    async def _embed(self, name: str, dimensions: int | None, piece: Sequence[str]) -> Pooled:
        request = EmbeddingCompletionRequest(
            model=name, input=list(piece), dimensions=dimensions, encoding_format="base64"
        )
        param = "input" if self.model.kind == "embedding" else "documents"
        answer = await _only(self._server.embeddings(request), param)
        ordered = sorted(answer.data, key=lambda each: each.index)
        return Pooled([{"embedding": each.embedding} for each in ordered], int(answer.usage.prompt_tokens))

    async def _rerank(self, name: str, query: str, piece: Sequence[str]) -> Pooled:
        request = ScoreRequest(model=name, text_1=query, text_2=list(piece))
        answer = await _only(self._server.score(request), "documents")
        ordered = sorted(answer.data, key=lambda each: each.index)
        if not all(math.isfinite(each.score) for each in ordered):
            raise EngineFailed("The model failed to answer.")
        return Pooled([{"relevance_score": each.score} for each in ordered], int(answer.usage.prompt_tokens))


def require_scoring(model: Model, scores: Any) -> None:
    """Raise `EngineFailed` unless vLLM scores as the model is declared: by itself it does what the files are for.

    `scores` is vLLM's own object for scoring, None where the model cannot.
    """
    if getattr(scores, "io_processor_name", None) != ("bi-encoder" if model.ranks_by_cosine else "cross-encoder"):
        raise EngineFailed(f"The files of {model.id} are not a model that scores as it is declared.")


async def _only(answers: AsyncGenerator[Any, None], param: str) -> Any:
    """Return the one answer; raises what the engine reported instead. Cancelling this aborts vLLM's requests."""
    try:
        answer = await anext(answers)
    finally:
        await answers.aclose()
    if isinstance(answer, ErrorResponse):
        raise refused(answer.error.message, answer.error.code, param)
    return answer


def refused(message: str, code: int, param: str) -> EngineRefused | EngineFailed:
    """Return the error for a request that vLLM turned down; its own words are about its insides."""
    if code != 400:
        return EngineFailed("The model failed to answer.")
    if "context length" in message or "max_model_len" in message:
        return too_long(param)
    if "dimensions" in message or "atryoshka" in message:
        return EngineRefused("The model does not give vectors of this length.", param="dimensions")
    return EngineRefused("The model's engine cannot serve this request.", param=param)
