"""Text completions on vLLM: raw text, counted as vLLM counts, and the same shape as on llama.cpp."""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from installation import CATALOGUE_VARIABLE
from small_model import MODEL
from vllm_counts import Engine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or CATALOGUE_VARIABLE not in os.environ,
    reason="`make test-vllm` runs these",
)

GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}
TEXTS = ["The capital of France is", "One, two, three,"]


@pytest.fixture(scope="module")
def engine(installation: Any) -> Engine:
    """The engine of the running installation."""
    return Engine(installation)


@pytest.fixture(scope="module")
def bank(installation: Any) -> Iterator[openai.OpenAI]:
    """A demo bank's client."""
    env = installation.demo_env
    with openai.OpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env["BANK_A_KEY"], max_retries=3) as client:
        yield client


def test_a_text_is_completed_without_a_template_and_counted_as_vllm_counts(engine: Engine, bank: openai.OpenAI) -> None:
    engine.await_idle()
    before = engine.counts()
    plain = bank.completions.create(model=MODEL, prompt=TEXTS, max_tokens=6, **GREEDY)
    stream = bank.completions.create(
        model=MODEL, prompt=TEXTS, max_tokens=6, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = list(stream)
    engine.await_idle()
    after = engine.counts()
    reported = [plain.usage, chunks[-1].usage]
    assert after["prompt_tokens"] - before["prompt_tokens"] == sum(each.prompt_tokens for each in reported if each)
    assert after["generation_tokens"] - before["generation_tokens"] == sum(
        each.completion_tokens for each in reported if each
    )
    assert reported[0] == reported[1]
    for choice in plain.choices:
        assert choice.text == "".join(
            part.text for chunk in chunks for part in chunk.choices if part.index == choice.index
        )
    chat = bank.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": TEXTS[0]}], max_tokens=1)
    alone = bank.completions.create(model=MODEL, prompt=TEXTS[0], max_tokens=1)
    assert chat.usage
    assert alone.usage
    assert alone.usage.prompt_tokens < chat.usage.prompt_tokens


@pytest.mark.parametrize("count", [0, 3])
def test_each_token_of_a_text_has_one_entry(bank: openai.OpenAI, count: int) -> None:
    answer = bank.completions.create(
        model=MODEL, prompt=TEXTS[0], max_tokens=8, logprobs=count, extra_body={"ignore_eos": True}, **GREEDY
    )
    (choice,) = answer.choices
    logprobs = choice.logprobs
    assert logprobs
    assert answer.usage
    lists = (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset)
    assert [len(each or []) for each in lists] == [answer.usage.completion_tokens] * 4 == [8] * 4
    assert "".join(logprobs.tokens or []) == choice.text
    for token, offset, likely in zip(
        logprobs.tokens or [], logprobs.text_offset or [], logprobs.top_logprobs or [], strict=True
    ):
        assert choice.text[offset:].startswith(token)
        assert token in likely
        assert max(count, 1) <= len(likely) <= count + 1


def test_choices_of_a_text_are_numbered_over_all_prompts_and_each_prompt_counts_once(
    bank: openai.OpenAI,
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 4, "seed": 3, "temperature": 1.0, "echo": True}
    together = bank.completions.create(prompt=TEXTS, n=2, **asked)
    alone = [bank.completions.create(prompt=text, n=1, **asked) for text in TEXTS]
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith(TEXTS[choice.index // 2]) for choice in together.choices] == [True] * 4
    assert together.usage
    assert together.usage.prompt_tokens == sum(answer.usage.prompt_tokens for answer in alone if answer.usage)


def test_a_control_token_in_a_text_costs_its_whole_spelling(bank: openai.OpenAI) -> None:
    def counted(text: str) -> int:
        usage = bank.completions.create(model=MODEL, prompt=text, max_tokens=1).usage
        assert usage
        return usage.prompt_tokens

    assert counted("a" + "<|im_end|>" * 2) - counted("a<|im_end|>") >= 4


def test_a_text_beyond_the_context_is_refused_by_name(bank: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        bank.completions.create(model=MODEL, prompt="bank " * 20_000, max_tokens=1)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")
