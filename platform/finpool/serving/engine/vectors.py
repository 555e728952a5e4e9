"""Embedding and ranking in an engine: the inputs are computed in pieces, and each piece is reported with its tokens.

A reported piece is computed and counted. So a client that leaves early pays for whole pieces only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.kernel.errors import DomainError
from finpool.serving.counters import Counters
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineFailed, EngineRefused


@dataclass(frozen=True, slots=True)
class PieceResults:
    """The results of one piece, one for each input in order, and the input tokens read for them."""

    results: Sequence[Mapping[str, Any]]
    input_tokens: int


Compute = Callable[[Sequence[str]], Awaitable[PieceResults]]
"""Computes one piece; raises `EngineRefused` or `EngineFailed`. Cancelling the call stops the engine's work on it.
"""


class VectorRun(AsyncIterator[dict[str, Any]]):
    """The chunks of one request, one for each piece. Every run must be aborted or read to its end."""

    def __init__(self, compute: Compute, inputs: Sequence[str], counters: Counters, *, piece_inputs: int) -> None:
        self._compute = compute
        self._inputs = inputs
        self._counters = counters
        self._piece_inputs = piece_inputs
        self._next_index = 0
        self._input_tokens = 0
        self._left = False
        counters.running += 1

    @property
    def input_tokens(self) -> int:
        """The input tokens that the engine has read so far."""
        return self._input_tokens

    def abort(self) -> None:
        """Start no further piece; cancelling the task that waits for a piece aborts that piece."""
        if not self._left:
            self._counters.aborted += 1
            self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next piece's chunk; raise `EngineRefused` or `EngineFailed`."""
        piece = self._inputs[self._next_index : self._next_index + self._piece_inputs]
        if self._left or not piece:
            self._leave()
            raise StopAsyncIteration
        try:
            computed = await self._compute(piece)
            if len(computed.results) != len(piece):
                raise EngineFailed("The engine gave another number of results than it was given inputs.")
        except DomainError:
            self._leave()
            raise
        except Exception as error:
            # The engine's text may repeat the inputs, and this message reaches the caller.
            self._leave()
            raise EngineFailed("The model failed to answer.") from error
        return self._chunk_of(computed)

    def _chunk_of(self, computed: PieceResults) -> dict[str, Any]:
        self._input_tokens += computed.input_tokens
        self._counters.input_tokens += computed.input_tokens
        first = self._next_index
        self._next_index += len(computed.results)
        choices = [{"index": index, **result} for index, result in enumerate(computed.results, first)]
        return {"choices": choices, "usage": usage_object(TokenUsage(self._input_tokens, 0, 0))}

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._counters.running -= 1


async def gives_a_result(run: VectorRun) -> bool:
    """Tell whether the engine computes a result for a health check."""
    try:
        async for _ in run:
            pass
    except DomainError:
        return False
    finally:
        run.abort()
    return run.input_tokens > 0


def inputs_of(body: Mapping[str, Any], model: Model, broken: Callable[[str], str] = str) -> list[str]:
    """Return the texts to embed with the model's prefix; raise `EngineRefused` if they are not non-empty strings.

    `broken` breaks the control tokens of a text, for an engine that would read them (ADR 0029). A prefix keeps its own.
    """
    prefix, _ = model.prefixes
    return [f"{prefix}{broken(text)}" for text in _texts(body.get("input"), "input")]


def documents_of(body: Mapping[str, Any], model: Model, broken: Callable[[str], str] = str) -> tuple[str, list[str]]:
    """Return the query and the documents to rank, each with the model's prefix.

    `broken` is that of `inputs_of`. Raises `EngineRefused` if they are not non-empty strings.
    """
    query_prefix, document_prefix = model.prefixes
    (query,) = map(broken, _texts([body.get("query")], "query"))
    documents = map(broken, _texts(body.get("documents"), "documents"))
    return f"{query_prefix}{query}", [f"{document_prefix}{text}" for text in documents]


def too_long(param: str) -> EngineRefused:
    """Return the refusal of an input that exceeds the model's context."""
    what = "A query and a document have" if param == "documents" else "An input has"
    message = f"{what} more tokens than the model's context."
    return EngineRefused(message, code=CONTEXT_LENGTH_EXCEEDED, param=param)


def unsupported(model_id: str, what: str) -> EngineRefused:
    """Return the refusal of an operation that the model does not support."""
    return EngineRefused(f"The model '{model_id}' does not {what}.", code="unsupported_parameter", param="model")


def _texts(value: Any, param: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
        raise EngineRefused("Only texts that are not empty are taken.", param=param)
    return value
