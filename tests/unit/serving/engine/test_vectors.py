"""An engine that embeds or ranks: its reports piece by piece, its refusals, and its counters."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from pooling_models import pooling_declaration

from finpool.catalogue.model.schemas import Model
from finpool.serving.counters import Counters
from finpool.serving.engine.control_tokens import BREAK, ControlTokens
from finpool.serving.engine.vectors import PieceResults, VectorRun, documents_of, inputs_of
from finpool.serving.errors import EngineFailed, EngineRefused

TOKENS = 3


async def lengths(piece: Sequence[str]) -> PieceResults:
    """Stand in for an engine: the result of a text is its length."""
    return PieceResults([{"length": len(text)} for text in piece], TOKENS * len(piece))


async def test_each_piece_is_told_with_the_count_so_far() -> None:
    counters = Counters()
    run = VectorRun(lengths, ["a", "bb", "ccc"], counters, piece_inputs=2)
    assert counters.running == 1
    chunks = [chunk async for chunk in run]
    results = [choice for chunk in chunks for choice in chunk["choices"]]
    assert results == [{"index": 0, "length": 1}, {"index": 1, "length": 2}, {"index": 2, "length": 3}]
    assert [chunk["usage"]["prompt_tokens"] for chunk in chunks] == [2 * TOKENS, 3 * TOKENS]
    assert counters == Counters(running=0, input_tokens=3 * TOKENS)
    run.abort()
    assert counters.aborted == 0


async def test_whoever_leaves_is_counted_for_whole_pieces_and_stops_the_one_under_way() -> None:
    stopped = asyncio.Event()

    async def slow_then_never(piece: Sequence[str]) -> PieceResults:
        if piece[0] == "first":
            return await lengths(piece)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    counters = Counters()
    run = VectorRun(slow_then_never, ["first", "second"], counters, piece_inputs=1)
    await anext(run)
    waiting = asyncio.ensure_future(anext(run))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    run.abort()
    assert stopped.is_set()
    assert counters == Counters(running=0, aborted=1, input_tokens=TOKENS)
    with pytest.raises(StopAsyncIteration):
        await anext(run)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (EngineRefused("no"), EngineRefused),
        (ValueError("the text was secret"), EngineFailed),
        (None, EngineFailed),
    ],
)
async def test_what_breaks_ends_the_run_without_repeating_the_text(
    failure: Exception | None, told: type[Exception]
) -> None:
    async def broken(piece: Sequence[str]) -> PieceResults:
        if failure is not None:
            raise failure
        return PieceResults([], TOKENS)

    counters = Counters()
    run = VectorRun(broken, ["a"], counters, piece_inputs=1)
    with pytest.raises(told) as raised:
        await anext(run)
    assert "secret" not in str(raised.value)
    assert counters == Counters(running=0)


def declared(kind: str, **engine: str) -> Model:
    declaration = pooling_declaration("m", kind)
    return Model.model_validate({**declaration, "engine": {**declaration["engine"], **engine}})


EMBEDS = declared("embedding", query_prefix="query: ")
RANKS = declared("rerank", scoring="cosine", pooling="mean", query_prefix="query: ", document_prefix="passage: ")


@pytest.mark.parametrize("texts", [None, "text", [], [""], [1], [["a"]], [None]])
def test_only_texts_are_taken(texts: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        inputs_of({"input": texts}, EMBEDS)
    assert refused.value.param == "input"
    with pytest.raises(EngineRefused) as refused:
        documents_of({"query": "q", "documents": texts}, RANKS)
    assert refused.value.param == "documents"


def test_the_engine_reads_each_text_behind_the_text_that_its_model_was_trained_with() -> None:
    assert inputs_of({"input": ["a", "b"]}, EMBEDS) == ["query: a", "query: b"]
    ranked = documents_of({"query": "q", "documents": ["a", "b"]}, RANKS)
    assert ranked == ("query: q", ["passage: a", "passage: b"])


def test_control_tokens_of_the_client_are_text_and_those_of_the_model_stay() -> None:
    broken, text = ControlTokens(["<s>"]).broken, f"a<{BREAK}s>"
    assert inputs_of({"input": ["a<s>"]}, declared("embedding", query_prefix="<s>"), broken) == [f"<s>{text}"]
    ranks = declared("rerank", scoring="cosine", pooling="mean", query_prefix="<s>q: ", document_prefix="<s>")
    ranked = documents_of({"query": "a<s>", "documents": ["b", "a<s>"]}, ranks, broken)
    assert ranked == (f"<s>q: {text}", ["<s>b", f"<s>{text}"])
