"""llama.cpp as an engine for embedding and rerank models."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import xllamacpp

from finpool.catalogue.model.schemas import Model
from finpool.serving.counters import Counters, counters_for
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
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.llamacpp.listener import Listener
from finpool.serving.llamacpp.parameters import vector_parameters

PIECE_INPUTS = 1
"""Inputs of one request per computation: one slot per request, as the fair queue counts them.

On CPU cores a batch is not faster: 20 inputs of 100 tokens took 12.5 s one by one, and 14.3 s in one batch.
"""

PROBE_TEXT = "Hello"
_TOO_LARGE = "is too large to process"


class LlamaCppVectors:
    """A llama.cpp vector engine. All methods belong to one event loop; llama.cpp computes in its own threads."""

    def __init__(self, model: Model, weights: Path) -> None:
        """Load the weights and compute one result, which takes seconds; raise `EngineFailed` if that fails.

        It also fails for weights that do not support the declared kind.
        """
        self.model = model
        self.counters = Counters()
        parameters = vector_parameters(model, weights)
        self._server = xllamacpp.Server(parameters)
        self._listener = Listener(self._server.listening_address, parameters.api_keys[0], seconds_max=None)
        self._warm_up()

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
        if body.get("dimensions") is not None:
            raise EngineRefused("The model gives vectors of one length only.", param="dimensions")
        return self._start(self._embed, inputs_of(body, self.model), counters_for(body, self.counters))

    def rerank(self, body: Mapping[str, Any]) -> VectorRun:
        """Start to rank; raise `EngineRefused` for a request that this engine cannot serve."""
        if self.model.kind != "rerank":
            raise unsupported(self.model.id, "rank documents")
        query, documents = documents_of(body, self.model)
        return self._start(self._scores(query), documents, counters_for(body, self.counters))

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Raise `EngineRefused`: only conversations are counted in advance."""
        raise unsupported(self.model.id, "chat")

    async def healthy(self) -> bool:
        """Tell whether the engine computes a vector or a score now; the test waits for a free slot like any request."""
        compute = self._embed if self.model.kind == "embedding" else self._scores(PROBE_TEXT)
        return await gives_a_result(VectorRun(compute, [PROBE_TEXT], Counters(), piece_inputs=PIECE_INPUTS))

    def _start(self, compute: Compute, inputs: list[str], counters: Counters) -> VectorRun:
        run = VectorRun(compute, inputs, counters, piece_inputs=PIECE_INPUTS)
        counters.requests += 1
        return run

    def _scores(self, query: str) -> Compute:
        return CosineScores(self._embed, query) if self.model.ranks_by_cosine else partial(self._rerank, query)

    async def _embed(self, piece: Sequence[str]) -> PieceResults:
        param = "input" if self.model.kind == "embedding" else "documents"
        # llama.cpp takes special tokens in a text for its own, so it gets the tokens of the text instead.
        tokens = [await self._tokens(text, param) for text in piece]
        answer = await self._ask("/v1/embeddings", {"input": tokens, "encoding_format": "base64"}, param)
        ordered = sorted(answer["data"], key=lambda each: each["index"])
        return PieceResults([{"embedding": each["embedding"]} for each in ordered], answer["usage"]["prompt_tokens"])

    async def _tokens(self, text: str, param: str) -> list[int]:
        """Return the tokens of an input, with those that the model puts around it."""
        content = {"content": text, "add_special": True, "parse_special": False}
        tokens: list[int] = (await self._ask("/tokenize", content, param))["tokens"]
        return tokens

    async def _rerank(self, query: str, piece: Sequence[str]) -> PieceResults:
        answer = await self._ask("/v1/rerank", {"query": query, "documents": list(piece)}, "documents")
        ordered = sorted(answer["results"], key=lambda each: each["index"])
        scores = [{"relevance_score": each["relevance_score"]} for each in ordered]
        return PieceResults(scores, answer["usage"]["prompt_tokens"])

    async def _ask(self, path: str, body: Mapping[str, Any], param: str) -> dict[str, Any]:
        try:
            status, answer = await self._listener.ask(path, body)
        except (aiohttp.ClientError, ValueError) as error:
            raise EngineFailed("The model failed to answer.") from error
        if status != 200:
            raise refused(answer, param)
        return answer

    def _warm_up(self) -> None:
        """Compute one result at the start, directly in the engine, because the listener belongs to the event loop."""
        if self.model.kind == "embedding" or self.model.ranks_by_cosine:
            answer = self._server.handle_embeddings(orjson.dumps({"input": [PROBE_TEXT]}).decode())
        else:
            answer = self._server.handle_rerank(orjson.dumps({"query": PROBE_TEXT, "documents": [PROBE_TEXT]}).decode())
        error = orjson.loads(answer).get("error")
        if error is not None:
            raise EngineFailed(f"The model {self.model.id} could not be started: {error.get('message')}.")


def refused(answer: Mapping[str, Any], param: str) -> EngineRefused | EngineFailed:
    """Return the error for a request that llama.cpp refused; its own text describes its internals."""
    error = answer.get("error") or {}
    if error.get("type") == "exceed_context_size_error" or _TOO_LARGE in str(error.get("message")):
        return too_long(param)
    if error.get("code") == 400:
        return EngineRefused("The model's engine cannot serve this request.", param=param)
    return EngineFailed("The model failed to answer.")
