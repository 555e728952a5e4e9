"""Only the fields that the platform knows reach an engine; all other fields of a client do not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.errors import InvalidValue, UnknownParameter
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.intake import parse_chat_request

ENGINES_OWN = [
    "priority",
    "cache_salt",
    "vllm_xargs",
    "lora",
    "lora_name",
    "lora_request",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "prompt_logprobs",
    "best_of",
    "allowed_token_ids",
    "bad_words",
    "kv_transfer_params",
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
    "add_generation_prompt",
    "documents",
    "id_slot",
    "cache_prompt",
    "grammar",
    "adapter",
    "return_token_ids",
]
KNOWN = {field.alias or name for name, field in ChatRequest.model_fields.items()}
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.lists(st.integers())
NAMES = st.sampled_from(ENGINES_OWN) | st.text(
    alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30
)


def ask(**fields: Any) -> ChatRequest:
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return parse_chat_request(json.dumps(body).encode())


@given(NAMES.filter(lambda name: name not in KNOWN), VALUES)
def test_any_field_that_is_not_known_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UnknownParameter) as refused:
        ask(**{name: value})
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ENGINES_OWN)
def test_fields_with_which_engines_are_steered_are_not_known(name: str) -> None:
    assert name not in KNOWN


def test_what_a_client_says_of_itself_stays_here() -> None:
    told = {"user": "u-1", "safety_identifier": "s-1", "metadata": {"case": "m-1"}, "service_tier": "default"}
    body = ask(**told, temperature=0.5).engine_body(7)
    assert body == {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "max_tokens": 7}


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("tools", [{"type": "function", "function": {"name": f"f{number}"}} for number in range(128)]),
        ("messages", [MESSAGE] * 1024),
        ("metadata", {str(number): "x" for number in range(16)}),
    ],
)
def test_more_tools_messages_or_metadata_than_the_bound_are_refused(field: str, most: Any) -> None:
    ask(**{field: most})
    more = {**most, "more": "x"} if isinstance(most, dict) else [*most, most[0]]
    with pytest.raises(InvalidValue) as refused:
        ask(**{field: more})
    assert refused.value.param == field
