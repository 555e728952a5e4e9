"""Null, an empty value and OpenAI's default count as not given; any other value of an unserved option is refused."""

from typing import Any

import pytest
from chat_requests import CALLING, QUESTION, RESULT, TOOL, engine_body, refusal

from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.options import RefusedOption, treatment_of

OPTIONS = [name for name in ChatRequest.model_fields if name not in ("model", "messages")]
NOT_SERVED = [name for name in OPTIONS if isinstance(treatment_of(ChatRequest.model_fields[name]), RefusedOption)]

DEFAULTS: list[dict[str, Any]] = [
    {"modalities": ["text"]},
    {"function_call": "none"},
    {"function_call": "auto", "functions": []},
    {"store": False},
    {"reasoning_effort": "medium"},
    {"verbosity": "medium"},
    {"prompt_cache_retention": "in_memory"},
    {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}},
    {"service_tier": "auto"},
    {"response_format": {"type": "text"}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"include_usage": None, "include_obfuscation": True}},
    {"stream_options": {}},
    {"tools": []},
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
    {"tool_choice": {}},
    {"stop": []},
    {"top_logprobs": 0},
    {"logit_bias": {}, "metadata": {}, "audio": {}, "prediction": {}, "web_search_options": {}},
]

OTHERS: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100},
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "store": True,
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_null_is_not_given(name: str) -> None:
    assert engine_body(**{name: None}) == {}


@pytest.mark.parametrize("fields", DEFAULTS, ids=str)
def test_an_empty_value_and_a_default_are_not_given(fields: dict[str, Any]) -> None:
    assert engine_body(**fields) == {}


@pytest.mark.parametrize("empty", [{}, []], ids=str)
@pytest.mark.parametrize("name", NOT_SERVED)
def test_an_empty_value_of_an_option_that_is_not_served_is_not_given(name: str, empty: Any) -> None:
    assert engine_body(**{name: empty}) == {}


@pytest.mark.parametrize("name", NOT_SERVED)
def test_an_option_that_is_not_served_is_refused_by_name_with_the_reason(name: str) -> None:
    error = refusal(**{name: OTHERS[name]})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)
    assert error.message.startswith(f"'{name}' is not supported: ")


@pytest.mark.parametrize("value", [0, 1, True, "x", ["audio"], {"a": 1}], ids=str)
def test_zero_and_one_are_neither_false_nor_true(value: Any) -> None:
    assert refusal(store=value).param == "store"


def test_tools_keep_their_choice() -> None:
    asked = {"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": True}
    assert engine_body(**asked) == asked


def test_an_option_that_no_answer_depends_on_reaches_no_engine() -> None:
    told = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"case": "7"}}
    assert engine_body(**told) == {}


@pytest.mark.parametrize("tier", ["scale", "priority", "fast"])
def test_a_tier_that_is_not_offered_is_refused_as_an_option(tier: str) -> None:
    error = refusal(service_tier=tier)
    assert (error.code, error.param) == ("unsupported_parameter", "service_tier")


EVERY_FIELD = dict.fromkeys(
    ("name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call", "annotations", "parsed", "reasoning")
)


@pytest.mark.parametrize("empty", [None, []], ids=str)
def test_a_message_may_hold_null_for_the_fields_of_other_roles(empty: Any) -> None:
    nulls = {**EVERY_FIELD, "tool_calls": empty}
    messages: list[dict[str, Any]] = [QUESTION, CALLING, RESULT, {"role": "assistant", "content": "42"}]
    asked = [{**nulls, **message} for message in messages]
    assert engine_body(messages=asked)["messages"] == [
        QUESTION,
        {name: value for name, value in CALLING.items() if value is not None},
        *messages[2:],
    ]


def test_a_field_of_another_role_is_refused_by_name() -> None:
    assert refusal(messages=[{**QUESTION, "tool_calls": CALLING["tool_calls"]}]).param == "messages[0].tool_calls"
    assert refusal(messages=[{**QUESTION, "tool_calls": None, "weight": None}]).param == "messages[0].weight"


def test_parts_and_tools_may_hold_null_for_other_kinds() -> None:
    part = {"type": "text", "text": "Why?", "image_url": None, "input_audio": None, "file": None}
    sent = engine_body(messages=[{"role": "user", "content": [part]}], tools=[{**TOOL, "custom": None}])
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "Why?"}]
    assert sent["tools"] == [TOOL]
