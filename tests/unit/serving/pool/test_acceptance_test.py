"""A version that embeds or ranks serves only after it has computed a result, and its measurements are reported."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pooling_models import pooling_declaration

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.version.schemas import Measurements
from finpool.serving.errors import EngineFailed
from finpool.serving.pool.acceptance_test import AcceptanceFailed, AcceptanceTest
from finpool.serving.schemas import UNCOUNTED_FIELD, EngineChunks, Operation


class ScriptedStream:
    """Gives one result for each input, or fails."""

    def __init__(self, results: int, failure: Exception | None) -> None:
        self._results = results
        self._failure = failure

    async def begun(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[EngineChunks]:
        yield EngineChunks([[{"index": index} for index in range(self._results)]], TokenUsage(5, 0, 0))

    def close(self) -> None:
        pass


class ScriptedBackends:
    def __init__(self, results: int = 1, failure: Exception | None = None) -> None:
        self.asked: list[tuple[Operation, dict[str, Any]]] = []
        self._stream = ScriptedStream(results, failure)

    async def ask(self, operation: Operation, model: Model, body: dict[str, Any], request_id: str) -> ScriptedStream:
        self.asked.append((operation, body))
        return self._stream

    async def figures(self, model: Model, path: str) -> dict[str, int]:
        return {"bytes": 7}


async def run(backends: Any, model: Model) -> Measurements:
    return await AcceptanceTest(backends, model).run(load_ms=3)


@pytest.mark.parametrize(("kind", "operation"), [("embedding", Operation.EMBED), ("rerank", Operation.RERANK)])
async def test_what_was_measured_is_told_and_counted_for_nobody(kind: str, operation: Operation) -> None:
    model, backends = Model.model_validate(pooling_declaration("small", kind)), ScriptedBackends()
    measured = await run(backends, model)
    assert (measured.load_ms, measured.memory_bytes, measured.streams) == (3, 7, model.engine.slots)
    assert measured.input_tokens_per_second > 0
    assert measured.output_tokens_per_second == measured.output_tokens_per_second_full == 0
    assert {asked for asked, _ in backends.asked} == {operation}
    assert all(body[UNCOUNTED_FIELD] is True for _, body in backends.asked)


@pytest.mark.parametrize("backends", [ScriptedBackends(results=0), ScriptedBackends(failure=EngineFailed("no"))])
async def test_a_version_that_computes_nothing_does_not_serve(backends: ScriptedBackends) -> None:
    model = Model.model_validate(pooling_declaration("small", "embedding"))
    with pytest.raises(AcceptanceFailed):
        await run(backends, model)
