"""A version that embeds or ranks serves only after it has computed a result, and its measurements are reported."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from model_declarations import vllm_declaration
from pooling_models import pooling_declaration

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.version.schemas import Measurements
from finpool.serving.errors import EngineFailed
from finpool.serving.pool.acceptance_test import AcceptanceFailed, AcceptanceTest
from finpool.serving.pool.capability_proofs import Proof, Proven, chat_proofs, dimensions_proof
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


ARGUMENTS = '{"kind":"bank","founded":7}'


def called(name: str = "record_institution", arguments: str = ARGUMENTS, call_id: str = "call_1") -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": call_id, "function": {"name": name, "arguments": arguments}}]}


def proven(*deltas: dict[str, Any], entries: int = 0, tokens: int = 5) -> Proven:
    logprobs = {"content": [{"token": "a", "top_logprobs": []}] * entries}
    chunks = [[{"index": 0, "delta": delta}] for delta in deltas]
    return Proven.of([*chunks, [{"index": 0, "delta": {}, "logprobs": logprobs}]], TokenUsage(9, 0, tokens))


def proofs() -> dict[str, Proof]:
    return chat_proofs(Model.model_validate(vllm_declaration(capabilities=["tools", "json_schema", "logprobs"])))


@pytest.mark.parametrize(
    ("capability", "answer"),
    [
        ("tools", proven(called(arguments='{"kind":"bank",'), called("", '"founded":7}', ""))),
        ("json_schema", proven({"content": ARGUMENTS[:9]}, {"content": ARGUMENTS[9:]})),
        ("logprobs", proven(entries=5)),
        ("logprobs", proven(entries=4)),
    ],
)
def test_an_answer_that_shows_the_capability_proves_it(capability: str, answer: Proven) -> None:
    assert proofs()[capability].fault(answer) is None


@pytest.mark.parametrize(
    ("capability", "answer"),
    [
        ("tools", proven({"content": "A bank."})),
        ("tools", proven(called("another"))),
        ("tools", proven(called(call_id=""))),
        ("tools", proven(called(arguments='{"kind":'))),
        ("tools", proven(called(arguments='{"kind":"shop","founded":7}'))),
        ("json_schema", proven({"content": "A bank."})),
        ("json_schema", proven({"content": '{"kind":"bank","founded":70}'})),
        ("logprobs", proven()),
        ("logprobs", proven(entries=2)),
    ],
)
def test_an_answer_without_the_capability_is_a_fault(capability: str, answer: Proven) -> None:
    assert proofs()[capability].fault(answer)


async def test_a_version_that_lacks_a_declared_capability_does_not_serve_and_the_reason_names_it() -> None:
    model = Model.model_validate(vllm_declaration(capabilities=["tools"]))
    with pytest.raises(AcceptanceFailed, match="capability tools"):
        await run(ScriptedBackends(), model)


@pytest.mark.parametrize(("length", "shorter"), [(768, 512), (1024, 512), (384, 256)])
def test_dimensions_are_proven_by_a_vector_of_half_the_length_or_more(length: int, shorter: int) -> None:
    proof = dimensions_proof(length)
    assert proof.body["dimensions"] == shorter
    vector = base64.b64encode(bytes(4 * shorter)).decode()
    assert proof.fault(Proven(TokenUsage(1, 0, 0), vectors=[vector])) is None
    assert proof.fault(Proven(TokenUsage(1, 0, 0), vectors=[[0.0] * length]))
