"""What llama.cpp's refusals of an input become, without its own words."""

import pytest

from finpool.serving.engine.cosine import CosineScores
from finpool.serving.engine.vectors import PieceResults
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.llamacpp.vectors import refused

EMBEDDED = {"q": "AACAPwAAAAA=", "same": "AACAPwAAAAA=", "other": "AAAAAAAAgD8="}
"""Vectors of length 1 along two axes."""


@pytest.mark.parametrize(
    "error",
    [
        {"code": 500, "message": "input (601 tokens) is too large to process. increase the physical batch size"},
        {"code": 400, "message": "request exceeds", "type": "exceed_context_size_error"},
    ],
)
def test_an_input_beyond_the_context_is_told_as_such(error: dict[str, object]) -> None:
    told = refused({"error": error}, "input")
    assert isinstance(told, EngineRefused)
    assert (told.refusal_code, told.param) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"error": {"code": 400, "message": "secret"}}, EngineRefused),
        ({"error": {"code": 500, "message": "secret"}}, EngineFailed),
        ({}, EngineFailed),
    ],
)
def test_its_own_words_are_not_passed_on(answer: dict[str, object], kind: type[Exception]) -> None:
    told = refused(answer, "input")
    assert isinstance(told, kind)
    assert "secret" not in str(told)


async def test_a_query_is_read_once_for_all_documents() -> None:
    read: list[str] = []

    async def embed(texts: object) -> PieceResults:
        assert isinstance(texts, list)
        read.extend(texts)
        return PieceResults([{"embedding": EMBEDDED[text]} for text in texts], len(texts))

    scores = CosineScores(embed, "q")
    first, second = await scores(["same"]), await scores(["other"])
    assert [*first.results, *second.results] == [{"relevance_score": 1.0}, {"relevance_score": 0.0}]
    assert (first.input_tokens, second.input_tokens, read) == (2, 1, ["q", "same", "other"])
