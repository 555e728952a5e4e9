"""The request for a text completion: default values, refusals with their reasons, and the bound of its use."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.errors import InvalidValue, UnsupportedParameter
from finpool.gateway.request.capabilities import require_completion
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.intake import parse_request
from finpool.kernel.errors import InvalidRequest
from finpool.serving.engine.control_tokens import ControlTokens

CATALOGUE = Catalogue.load(default_directory())
MODEL = CATALOGUE.get("smollm2-135m-instruct")
NOTHING: dict[str, Any] = {
    "best_of": 1,
    "echo": None,
    "logit_bias": {},
    "logprobs": None,
    "max_tokens": None,
    "n": None,
    "seed": None,
    "stop": [],
    "stream": None,
    "stream_options": None,
    "suffix": "",
    "temperature": None,
    "top_p": None,
    "user": None,
}


def parsed(**fields: Any) -> CompletionRequest:
    return parse_request(orjson.dumps({"model": "m", "prompt": "A bank", **fields}), CompletionRequest)


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**fields)
    return refused.value


@pytest.mark.parametrize("name", NOTHING)
def test_an_empty_value_and_the_default_count_as_not_given(name: str) -> None:
    assert parsed(**{name: NOTHING[name]}).engine_body(7) == parsed().engine_body(7)


def test_one_text_is_a_list_of_one() -> None:
    assert parsed(prompt="A bank") == parsed(prompt=["A bank"])


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"suffix": "."}, "suffix", "gap"),
        ({"logit_bias": {"50256": -100}}, "logit_bias", "numbers"),
        ({"best_of": 3}, "best_of", "n"),
        ({"n": 2, "best_of": 3}, "best_of", "n"),
        ({"prompt": [1, 2, 3]}, "prompt", "token arrays"),
        ({"prompt": [[1, 2], [3]]}, "prompt", "token arrays"),
        ({"echo": True, "logprobs": 1}, "logprobs", "echo"),
    ],
)
def test_an_option_that_is_not_served_is_refused_by_name_with_the_reason(
    fields: dict[str, Any], param: str, reason: str
) -> None:
    refused = refusal(**fields)
    assert (refused.code, refused.param) == ("unsupported_parameter", param)
    assert reason in refused.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["A bank", ""]}, "prompt[1]"),
        ({"prompt": ["a"] * 33}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 5}, "n"),
        ({"best_of": True}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_as_many_answers_as_candidates_choose_nothing() -> None:
    assert parsed(n=2, best_of=2).engine_body(7) == parsed(n=2).engine_body(7)


def test_an_answer_without_a_limit_has_sixteen_tokens_or_the_models_largest_output() -> None:
    assert parsed().output_tokens(MODEL) == 16
    assert parsed().output_tokens(MODEL.model_copy(update={"output_tokens_max": 9})) == 9
    assert parsed(max_tokens=99).output_tokens(MODEL) == 99


def test_log_probabilities_without_alternatives_are_asked_for_too() -> None:
    assert parsed(logprobs=0).engine_body(7) == {**parsed().engine_body(7), "logprobs": True, "top_logprobs": 0}


def test_the_engine_never_sees_the_caller_nor_the_echo() -> None:
    assert parsed(user="somebody", echo=True, stream=True).engine_body(7) == parsed().engine_body(7)


@pytest.mark.parametrize("model_id", ["multilingual-e5-small", "multilingual-e5-small-rerank"])
def test_a_model_that_does_not_chat_says_the_path_that_it_takes(model_id: str) -> None:
    model = CATALOGUE.get(model_id)
    with pytest.raises(UnsupportedParameter, match=r"/v1/(embeddings|rerank)") as refused:
        require_completion(model, parsed())
    assert refused.value.param == "model"


def _changed(**changes: Any) -> Model:
    return MODEL.model_copy(update=changes)


def test_a_model_without_log_probabilities_refuses_them() -> None:
    require_completion(_changed(capabilities=frozenset()), parsed())
    with pytest.raises(UnsupportedParameter) as refused:
        require_completion(_changed(capabilities=frozenset()), parsed(logprobs=0))
    assert refused.value.param == "logprobs"


def test_more_choices_than_the_engine_has_slots_are_refused() -> None:
    model = _changed(engine=MODEL.engine.model_copy(update={"slots": 1}))
    with pytest.raises(InvalidValue) as refused:
        require_completion(model, parsed(n=2))
    assert refused.value.param == "n"


PROMPTS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=32)


@given(PROMPTS, st.integers(1, 4))
def test_the_bound_covers_every_byte_of_the_text_that_an_engine_reads(prompts: list[str], n: int) -> None:
    tokens = ControlTokens(["<s>", "</s>", "[INST]"])
    request = parsed(prompt=prompts, n=n)
    read = [len(tokens.broken(text).encode()) for text in prompts]
    assert request.input_tokens_bound(MODEL) >= n * sum(min(each, MODEL.context_tokens) for each in read)
    assert request.input_tokens_bound(MODEL) <= n * len(prompts) * MODEL.context_tokens


def test_a_text_of_control_tokens_alone_is_bounded_too() -> None:
    tokens, text = ControlTokens(["<s>"]), "<s>" * 100
    assert parsed(prompt=text).input_tokens_bound(MODEL) >= len(tokens.broken(text).encode()) == 600
