"""vLLM as an engine for embedding and rerank models, in an engine replica that `ray.serve.llm` has started."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any

from ray.llm._internal.serve.core.configs.openai_api_models import (
    EmbeddingCompletionRequest,
    ErrorResponse,
    ScoreRequest,
)

from finpool.catalogue.model.schemas import Model
from finpool.serving.counters import Counters, counters_for
from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.engine.cosine import CosineScores
from finpool.serving.engine.vectors import (
    Compute,
    PieceResults,
    VectorRun,
    documents_of,
    gives_a_result,
    inputs_of,
    too_long,
    unsupported,
)
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import ADAPTER_FIELD
from finpool.serving.vllm.protocols import VectorServer

PIECE_INPUTS = 32
"""Inputs of one request per call of vLLM: enough for a batch, and the largest loss if the client leaves."""

PROBE_TEXT = "Hello"


class VllmVectors:
    """A vLLM vector engine. All methods belong to one event loop; vLLM computes in its own processes."""

    def __init__(
        self,
        model: Model,
        server: VectorServer,
        *,
        base_name: str,
        adapters: frozenset[str],
        control_tokens: ControlTokens,
    ) -> None:
        """Take `base_name`, the engine's name of the base model, and `adapters`, the SHA-256 of loaded adapters.

        `control_tokens` are those of the model's tokenizer, which reads them in any text.
        """
        self.model = model
        self.counters = Counters()
        self._server = server
        self._base_name = base_name
        self._adapters = adapters
        self._broken = control_tokens.broken

    def generate(self, body: Mapping[str, Any]) -> VectorRun:
        """Raise `EngineRefused`: the model does not chat."""
        raise unsupported(self.model.id, "chat")

    def complete(self, body: Mapping[str, Any]) -> VectorRun:
        """Raise `EngineRefused`: the model completes no texts."""
        raise unsupported(self.model.id, "complete texts")

    def embed(self, body: Mapping[str, Any]) -> VectorRun:
        """Start to embed; raise `EngineRefused` for a request that this engine cannot serve."""
        if self.model.kind != "embedding":
            raise unsupported(self.model.id, "give embeddings")
        compute = self._embedding(self._name(body), body.get("dimensions"))
        return self._start(compute, inputs_of(body, self.model, self._broken), counters_for(body, self.counters))

    def rerank(self, body: Mapping[str, Any]) -> VectorRun:
        """Start to rank; raise `EngineRefused` for a request that this engine cannot serve."""
        if self.model.kind != "rerank":
            raise unsupported(self.model.id, "rank documents")
        query, documents = documents_of(body, self.model, self._broken)
        return self._start(self._scores(self._name(body), query), documents, counters_for(body, self.counters))

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Raise `EngineRefused`: only conversations are counted in advance."""
        raise unsupported(self.model.id, "chat")

    async def healthy(self) -> bool:
        """Tell whether the engine computes a vector or a score now; the test waits its turn like any request."""
        ranks = self.model.kind == "rerank"
        compute = self._scores(self._base_name, PROBE_TEXT) if ranks else self._embedding(self._base_name, None)
        return await gives_a_result(VectorRun(compute, [PROBE_TEXT], Counters(), piece_inputs=PIECE_INPUTS))

    def _start(self, compute: Compute, inputs: list[str], counters: Counters) -> VectorRun:
        run = VectorRun(compute, inputs, counters, piece_inputs=PIECE_INPUTS)
        counters.requests += 1
        return run

    def _name(self, body: Mapping[str, Any]) -> str:
        """Return the engine's name for the model; raise `EngineUnavailable` for an adapter that is not loaded."""
        adapter: str | None = body.get(ADAPTER_FIELD)
        if adapter is None:
            return self._base_name
        if adapter not in self._adapters:
            raise EngineUnavailable("The adapter is not loaded.")
        return adapter

    def _embedding(self, name: str, dimensions: int | None) -> Compute:
        return partial(self._embed, name, dimensions)

    def _scores(self, name: str, query: str) -> Compute:
        # vLLM's own cosine scoring would count the query once per document, although it computes it once.
        if self.model.ranks_by_cosine:
            return CosineScores(self._embedding(name, None), query)
        return partial(self._rerank, name, query)

    async def _embed(self, name: str, dimensions: int | None, piece: Sequence[str]) -> PieceResults:
        request = EmbeddingCompletionRequest(
            model=name, input=list(piece), dimensions=dimensions, encoding_format="base64"
        )
        param = "input" if self.model.kind == "embedding" else "documents"
        answer = await _only(self._server.embeddings(request), param)
        ordered = sorted(answer.data, key=lambda each: each.index)
        return PieceResults([{"embedding": each.embedding} for each in ordered], int(answer.usage.prompt_tokens))

    async def _rerank(self, name: str, query: str, piece: Sequence[str]) -> PieceResults:
        request = ScoreRequest(model=name, text_1=query, text_2=list(piece))
        answer = await _only(self._server.score(request), "documents")
        ordered = sorted(answer.data, key=lambda each: each.index)
        if not all(math.isfinite(each.score) for each in ordered):
            raise EngineFailed("The model failed to answer.")
        return PieceResults([{"relevance_score": each.score} for each in ordered], int(answer.usage.prompt_tokens))


def require_scoring(model: Model, scores: Any) -> None:
    """Raise `EngineFailed` unless vLLM's scoring matches the declaration: it follows the files alone.

    `scores` is vLLM's scoring object, or None if the model cannot score.
    """
    if getattr(scores, "io_processor_name", None) != ("bi-encoder" if model.ranks_by_cosine else "cross-encoder"):
        raise EngineFailed(f"The files of {model.id} do not score as declared.")


async def _only(answers: AsyncGenerator[Any, None], param: str) -> Any:
    """Return the one answer; raise the engine's error instead. Cancelling this aborts vLLM's requests."""
    try:
        answer = await anext(answers)
    finally:
        await answers.aclose()
    if isinstance(answer, ErrorResponse):
        raise refused(answer.error.message, answer.error.code, param)
    return answer


def refused(message: str, code: int, param: str) -> EngineRefused | EngineFailed:
    """Return the error for a request that vLLM refused; its own text describes its internals."""
    if code != 400:
        return EngineFailed("The model failed to answer.")
    if "context length" in message or "max_model_len" in message:
        return too_long(param)
    if "dimensions" in message or "atryoshka" in message:
        return EngineRefused("The model does not give vectors of this length.", param="dimensions")
    return EngineRefused("The model's engine cannot serve this request.", param=param)
