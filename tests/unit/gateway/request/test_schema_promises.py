"""A schema that is promised holds: a keyword that an engine does not enforce is refused by its name."""

from typing import Any

import pytest
from chat_requests import parsed
from model_declarations import vllm_declaration
from remote_model import remote_declaration

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.errors import UnsupportedParameter
from finpool.gateway.request.capabilities import require_chat

CAPABILITIES = {"capabilities": ["tools", "json_schema"]}
LOCAL = (
    Catalogue.load(default_directory())
    .get("smollm2-135m-instruct")
    .model_copy(update={"capabilities": frozenset(CAPABILITIES["capabilities"])})
)
VLLM = Model.model_validate(vllm_declaration(**CAPABILITIES))
REMOTE = Model.model_validate(remote_declaration("http://127.0.0.1:1/v1", "remote") | CAPABILITIES)
ENGINES = pytest.mark.parametrize("model", [LOCAL, VLLM, REMOTE], ids=["llama.cpp", "vLLM", "remote"])

NOWHERE: list[tuple[str, dict[str, Any]]] = [
    ("uniqueItems", {"type": "array", "uniqueItems": True}),
    ("contains", {"type": "array", "contains": {"type": "string"}}),
    ("minContains", {"type": "array", "minContains": 2}),
    ("unevaluatedItems", {"type": "array", "unevaluatedItems": False}),
    ("not", {"not": {"type": "string"}}),
    ("if", {"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}),
    ("propertyNames", {"type": "object", "propertyNames": {"pattern": "^a$"}}),
    ("dependentRequired", {"type": "object", "dependentRequired": {"a": ["b"]}}),
    ("dependentSchemas", {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}),
    ("dependencies", {"type": "object", "dependencies": {"a": ["b"]}}),
    ("unevaluatedProperties", {"type": "object", "unevaluatedProperties": False}),
    ("minProperties", {"type": "object", "minProperties": 2, "required": ["a"]}),
    ("multipleOf", {"type": "integer", "minimum": -9, "maximum": -1, "multipleOf": 2}),
    ("multipleOf", {"type": "number", "exclusiveMaximum": 0, "multipleOf": 0.5}),
    ("format", {"type": "string", "format": "iri"}),
    ("exclusiveMinimum", {"type": "integer", "minimum": 1, "exclusiveMinimum": True}),
    ("contentEncoding", {"type": "string", "contentEncoding": "base64"}),
    ("nullable", {"type": "string", "nullable": True}),
    ("$dynamicRef", {"$dynamicRef": "#a"}),
    ("x-unit", {"type": "number", "x-unit": "EUR"}),
    ("minimun", {"type": "number", "minimun": 1}),
]
ESCAPED = [r'^"a$', r"\\a", r"^\t", "a\n", r'^["]x$']
ONLY_HERE: list[tuple[str, dict[str, Any]]] = [
    ("oneOf", {"oneOf": [{"type": "string"}, {"type": "integer"}]}),
    ("allOf", {"allOf": [{"type": "integer"}, {"minimum": 1}]}),
    ("patternProperties", {"type": "object", "patternProperties": {"^a$": {"type": "string"}}}),
    ("maxProperties", {"type": "object", "maxProperties": 1}),
    ("prefixItems", {"type": "array", "prefixItems": [{"type": "string"}], "items": False}),
    ("additionalItems", {"type": "array", "items": [{"type": "string"}], "additionalItems": False}),
    ("maxLength", {"type": "string", "maxLength": 3}),
]
EVERYWHERE: list[dict[str, Any]] = [
    {"type": "number", "minimum": 0.25, "exclusiveMaximum": 0.5, "multipleOf": 0.05},
    {"type": ["string", "null"], "pattern": "^[a-z]{1,3}$"},
    {"type": "string", "pattern": r'\d.\s[^"\\]\W'},
    {"enum": [1, "a", None, {"not": 1}], "default": {"not": 1}},
    {"type": "object", "properties": {"not": {"const": "if"}}, "required": ["not", "b"], "additionalProperties": False},
    {"type": "string", "format": "date-time", "examples": ["x"], "deprecated": True, "readOnly": True, "$comment": ""},
    {
        "anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}],
        "$defs": {"a": {"type": "string"}},
        "$id": "urn:x",
        "title": "",
    },
]


def within(schema: Any) -> dict[str, Any]:
    """Return an object with that schema as a property."""
    return {"type": "object", "properties": {"a/b": schema}, "required": ["a/b"]}


def answer_in(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def tool_with(schema: dict[str, Any], *, strict: bool | None) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}]


def refused_param(model: Model, **fields: Any) -> str | None:
    with pytest.raises(UnsupportedParameter) as refused:
        require_chat(model, parsed(**fields))
    assert f"'{refused.value.param}' is not supported" in refused.value.message
    assert model.id in refused.value.message
    return refused.value.param


@ENGINES
@pytest.mark.parametrize(("keyword", "schema"), NOWHERE, ids=[keyword for keyword, _ in NOWHERE])
def test_a_keyword_that_no_engine_enforces_is_refused_by_name(
    model: Model, keyword: str, schema: dict[str, Any]
) -> None:
    at = f"response_format.json_schema.schema.properties.a/b.{keyword}"
    assert refused_param(model, response_format=answer_in(within(schema))) == at


@pytest.mark.parametrize(("keyword", "schema"), ONLY_HERE, ids=[keyword for keyword, _ in ONLY_HERE])
def test_a_remote_engine_is_asked_only_for_what_openai_promises(keyword: str, schema: dict[str, Any]) -> None:
    param = str(refused_param(REMOTE, response_format=answer_in(within(schema))))
    assert param == f"response_format.json_schema.schema.properties.a/b.{keyword}"
    for model in (LOCAL, VLLM):
        require_chat(model, parsed(response_format=answer_in(within(schema))))


@pytest.mark.parametrize("pattern", ESCAPED)
def test_a_pattern_that_only_llama_cpp_misreads_is_refused_there(pattern: str) -> None:
    text = {"type": "string", "pattern": pattern}
    at = "response_format.json_schema.schema.properties.a/b.pattern"
    assert refused_param(LOCAL, response_format=answer_in(within(text))) == at
    names = {"type": "object", "patternProperties": {pattern: {"type": "string"}}}
    assert str(refused_param(LOCAL, response_format=answer_in(within(names)))).endswith("patternProperties")
    for model in (VLLM, REMOTE):
        require_chat(model, parsed(response_format=answer_in(within(text))))


@ENGINES
@pytest.mark.parametrize("schema", EVERYWHERE)
def test_enforced_keywords_and_annotations_are_taken(model: Model, schema: dict[str, Any]) -> None:
    require_chat(model, parsed(response_format=answer_in(schema)))
    require_chat(model, parsed(tools=tool_with(schema, strict=True), tool_choice="required"))


@pytest.mark.parametrize(
    "schema", [{"type": "string", "pattern": "^a$"}, {"type": "string", "format": "date"}], ids=["pattern", "format"]
)
def test_a_strict_call_that_a_model_on_vllm_may_choose_is_held_to_what_can_be_checked(schema: dict[str, Any]) -> None:
    tools = tool_with(within(schema), strict=True)
    for choice in (None, "auto"):
        assert str(refused_param(VLLM, tools=tools, tool_choice=choice)).startswith("tools[0].function.parameters")
    choices: list[Any] = ["required", "none", {"type": "function", "function": {"name": "f"}}]
    for held in choices:
        require_chat(VLLM, parsed(tools=tools, tool_choice=held))
    require_chat(LOCAL, parsed(tools=tools))
    require_chat(VLLM, parsed(tools=tool_with(within({"type": "integer", "maximum": 3}), strict=True)))


@ENGINES
def test_only_a_strict_tool_promises_that_its_calls_follow_the_schema(model: Model) -> None:
    schema = within({"type": "array", "items": {"anyOf": [{"not": {}}]}})
    at = "tools[0].function.parameters.properties.a/b.items.anyOf[0].not"
    assert refused_param(model, tools=tool_with(schema, strict=True)) == at
    for strict in (False, None):
        require_chat(model, parsed(tools=tool_with(schema, strict=strict)))


def test_a_name_for_a_part_of_the_schema_is_refused_because_it_would_change_references() -> None:
    at = "response_format.json_schema.schema.properties.a/b.$id"
    named = within({"$id": "urn:y", "$ref": "#/$defs/a"}) | {"$defs": {"a": {"type": "string"}}}
    assert refused_param(LOCAL, response_format=answer_in(named)) == at
