"""A text completion in llama.cpp's words: one request for each prompt, and the fields that never reach it."""

from typing import Any

import pytest

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.engine.control_tokens import BREAK, ControlTokens
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.request import completion_requests

TOKENS = ControlTokens(["<|im_start|>", "<|im_end|>"])


@pytest.fixture(scope="module")
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


def completions(model: Model, **body: Any) -> list[dict[str, Any]]:
    return completion_requests({"prompt": ["A bank", "a<|im_end|>b"], **body}, model, TOKENS)


def test_each_prompt_is_a_request_of_raw_text_without_control_tokens(model: Model) -> None:
    first, second = completions(model, n=2, repetition_penalty=1.5, max_tokens=7, stop=["."])
    assert first.pop("prompt") == "A bank"
    assert second.pop("prompt") == f"a<{BREAK}|im_end|>b"
    assert first == second
    assert first.items() >= {"n": 2, "repeat_penalty": 1.5, "max_tokens": 7, "cache_prompt": False}.items()
    assert not {"messages", "stop", "logprobs", "add_generation_prompt"} & first.keys()


@pytest.mark.parametrize(("asked", "sent"), [(0, 1), (1, 1), (5, 5)])
def test_the_engine_reports_at_least_one_alternative_for_a_text(model: Model, asked: int, sent: int) -> None:
    (request, _) = completions(model, logprobs=True, top_logprobs=asked)
    assert request["logprobs"] == sent
    assert "top_logprobs" not in request


@pytest.mark.parametrize("field", ["cache_prompt", "id_slot", "grammar", "n_predict", "lora", "suffix", "echo"])
def test_fields_of_the_engine_itself_are_refused_beside_a_prompt_too(model: Model, field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        completions(model, **{field: 1})
    assert refused.value.param == field
