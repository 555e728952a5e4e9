"""A request in llama.cpp's words, and the fields that never reach it."""

import re
from typing import Any

import pytest

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.engine.seeds import SEEDS
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.request import llamacpp_request, refusal

TOKENS = ControlTokens(["<|im_start|>", "<|im_end|>"])
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


def translated(model: Model, **body: Any) -> dict[str, Any]:
    return llamacpp_request({"messages": MESSAGES, **body}, model, TOKENS)


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


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**32 - 2, 2**63 - 1, -(2**63)])
def test_no_seed_is_the_engines_sign_for_a_random_one(model: Model, seed: int) -> None:
    assert 0 <= translated(model, seed=seed)["seed"] < SEEDS
    assert translated(model, seed=seed) == translated(model, seed=seed)


def test_different_seeds_stay_different(model: Model) -> None:
    seeds = [0, 1, -1, 2**32, 2**32 - 1, 2**63 - 1, -(2**63), 2**40]
    assert len({translated(model, seed=seed)["seed"] for seed in seeds}) == len(seeds)


def test_stop_strings_stay_with_us_and_probabilities_are_always_reported_with_one_alternative(model: Model) -> None:
    assert "stop" not in translated(model, stop=["a"])
    assert translated(model, logprobs=True)["top_logprobs"] == 1
    assert translated(model, logprobs=True, top_logprobs=0)["top_logprobs"] == 1
    assert translated(model, logprobs=True, top_logprobs=5)["top_logprobs"] == 5


SCHEMA = {"type": "object", "properties": {"not": {"type": "string", "format": "uuid"}}, "required": ["not"]}


def in_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_a_format_becomes_a_grammar_that_ends_with_the_value(model: Model) -> None:
    request = translated(model, response_format=in_schema(SCHEMA))
    assert request["grammar"].startswith("%llguidance {}\nstart: answer\nanswer: %json {")
    assert "response_format" not in request
    assert "grammar" in translated(model, response_format={"type": "json_object"})
    assert "grammar" not in translated(model, response_format={"type": "text"})


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("'not'", {"not": {}}),
        ("'uniqueItems'", {"properties": {"a": {"uniqueItems": True}}}),
        ("'contains'", {"anyOf": [{"contains": {}}]}),
        ("'if'", {"$defs": {"a": {"items": {"if": {}}}}}),
        ("the format 'postcode'", {"prefixItems": [{"format": "postcode"}]}),
    ],
)
def test_a_keyword_that_would_not_hold_is_refused_by_name(model: Model, keyword: str, schema: dict[str, Any]) -> None:
    with pytest.raises(EngineRefused, match=keyword) as refused:
        translated(model, response_format=in_schema(schema))
    assert refused.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"oneOf": [{"type": "string"}, {"minLength": 2}]}, "oneOf constraints are not supported"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "minimum (5) is greater than maximum (4)"),
        ({"patternProperties": {"^a": {}, "b$": {}}}, "not disjoint"),
        ({"type": "string", "format": "date", "maxLength": 5}, "Unsatisfiable"),
        ({"type": "money"}, "Invalid type: money"),
    ],
)
def test_a_schema_that_the_library_cannot_read_is_refused_because_its_answer_would_be_any_text(
    model: Model, schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EngineRefused, match=re.escape(reason)) as refused:
        translated(model, response_format=in_schema(schema))
    assert refused.value.param == "response_format.json_schema.schema"


def test_alternatives_of_which_only_one_can_hold_are_taken(model: Model) -> None:
    assert (
        "oneOf"
        in translated(model, response_format=in_schema({"oneOf": [{"type": "string"}, {"type": "null"}]}))["grammar"]
    )


def test_a_grammar_that_the_engine_refuses_is_the_formats_fault(model: Model) -> None:
    assert refusal(translated(model, response_format=in_schema(SCHEMA))).param == "response_format"


ASKED = {"role": "user", "content": "Tell me"}


def test_a_last_message_of_the_assistant_is_continued(model: Model) -> None:
    request = translated(model, messages=[ASKED, {"role": "assistant", "content": "Once upon a"}])
    assert (request["continue_final_message"], request["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in translated(model)


def test_a_last_message_without_text_begins_a_new_one(model: Model) -> None:
    request = translated(model, messages=[ASKED, {"role": "assistant", "content": ""}])
    assert request["messages"] == [ASKED]
    assert "continue_final_message" not in request


def test_a_call_of_a_tool_without_its_result_is_not_continued(model: Model) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(EngineRefused, match="result") as refused:
        translated(model, messages=[ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}])
    assert refused.value.param == "messages"


def function(name: str, parameters: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


def test_tools_are_told_in_the_system_message_and_llamacpp_itself_gets_none(model: Model) -> None:
    system = {"role": "system", "content": "Be brief."}
    request = translated(model, messages=[system, ASKED], tools=[function("look_up", description="Looks up.")])
    assert request["messages"][0]["content"].startswith("Be brief.\n\n")
    assert '{"name":"look_up","description":"Looks up."}' in request["messages"][0]["content"]
    assert [each["role"] for each in request["messages"]] == ["system", "user"]
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & request.keys()
    assert [each["role"] for each in translated(model, tools=[function("look_up")])["messages"]] == ["system", "user"]


def test_without_a_choice_of_tools_the_conversation_is_as_it_was(model: Model) -> None:
    request = translated(model, messages=[ASKED], tools=[function("look_up")], tool_choice="none")
    assert request["messages"] == [ASKED]
    assert "grammar" not in request


def test_only_the_named_function_is_offered(model: Model) -> None:
    tools = [function("look_up"), function("add")]
    chosen = {"type": "function", "function": {"name": "add"}}
    request = translated(model, tools=tools, tool_choice=chosen)
    assert "look_up" not in request["grammar"] + request["messages"][0]["content"]


def test_calls_and_results_are_told_as_texts(model: Model) -> None:
    calls = [{"id": str(n), "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}} for n in (1, 2)]
    results = [{"role": "tool", "tool_call_id": str(n), "content": str(n)} for n in (1, 2)]
    history = [ASKED, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    told = translated(model, messages=history)["messages"]
    assert [each["role"] for each in told] == ["user", "assistant", "user"]
    assert told[1]["content"].count('{"name": "add", "arguments": {"a":1}}') == 2
    assert told[2]["content"] == "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
    assert all(each.keys() == {"role", "content"} for each in told)


def test_a_strict_tool_that_cannot_be_enforced_is_refused_and_another_one_only_tells_its_schema(model: Model) -> None:
    schema = {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"minLength": 2}]}}, "not": {}}
    with pytest.raises(EngineRefused) as refused:
        translated(model, tools=[function("f", schema, strict=True)])
    assert refused.value.param == "tools"
    assert "grammar" in translated(model, tools=[function("f", schema)])
    impossible = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}}
    told = translated(model, tools=[function("f", impossible | {"required": ["a"]})])
    assert '"maximum":1' in told["messages"][0]["content"]
