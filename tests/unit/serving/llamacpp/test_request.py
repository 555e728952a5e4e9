"""A request in llama.cpp's words, and the fields that never reach it."""

from typing import Any

import pytest

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.request import llamacpp_request

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


def translated(model: Model, **body: Any) -> dict[str, Any]:
    return llamacpp_request({"messages": MESSAGES, **body}, model)


def test_the_engine_is_always_asked_to_count_and_never_to_cache(model: Model) -> None:
    request = translated(model, stream=False, stream_options=None)
    assert request["stream"] is True
    assert request["stream_options"] == {"include_usage": True}
    assert request["timings_per_token"] is True
    assert request["cache_prompt"] is False


@pytest.mark.parametrize("field", ["cache_prompt", "id_slot", "grammar", "n_predict", "lora", "samplers"])
def test_fields_of_the_engine_itself_are_refused(model: Model, field: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        translated(model, **{field: 1})
    assert refused.value.param == field


def test_names_of_others_become_the_engines(model: Model) -> None:
    request = translated(model, repetition_penalty=1.1, max_completion_tokens=5, min_p=0.1, ignore_eos=True, seed=1)
    assert request["repeat_penalty"] == 1.1
    assert request["max_tokens"] == 5
    assert request["min_p"] == 0.1
    assert request["ignore_eos"] is True
    assert request["seed"] == 1


def test_null_means_not_given(model: Model) -> None:
    assert "logprobs" not in translated(model, logprobs=None, unknown_but_null=None)


def test_without_a_limit_the_models_default_holds(model: Model) -> None:
    assert translated(model)["max_tokens"] == model.output_tokens_default


@pytest.mark.parametrize("tokens", [-1, 0, 1025])
def test_a_limit_beyond_the_models_is_refused(model: Model, tokens: int) -> None:
    with pytest.raises(EngineRefused):
        translated(model, max_tokens=tokens)


def test_more_choices_than_slots_are_refused(model: Model) -> None:
    with pytest.raises(EngineRefused) as refused:
        translated(model, n=5)
    assert refused.value.param == "n"


def test_a_developer_speaks_as_system_and_text_parts_are_joined(model: Model) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = translated(model, messages=[{"role": "developer", "content": parts}])
    assert request["messages"] == [{"role": "system", "content": "a\nb"}]


def test_parts_that_are_not_text_are_refused(model: Model) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(EngineRefused) as refused:
        translated(model, messages=[{"role": "user", "content": [image]}])
    assert refused.value.param == "messages"
