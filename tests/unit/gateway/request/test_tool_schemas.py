"""Tool parameters without `strict` may be any JSON schema; engines get one that they compile quickly."""

from typing import Any

import pytest
from chat_requests import TOOL, engine_body, refusal

from finpool.gateway.request.schema_bounds import require_bounded_schema

NODE = {"type": "object", "properties": {"name": {"type": "string"}, "children": {"$ref": "#/$defs/nodes"}}}
BOUNDED: dict[str, dict[str, Any]] = {
    "a digit class": {"type": "object", "properties": {"year": {"type": "string", "pattern": r"^\d{4}$"}}},
    "an open pattern": {"type": "object", "properties": {"code": {"type": "string", "pattern": "[A-Z]"}}},
    "a tree": {"$ref": "#/$defs/node", "$defs": {"node": NODE, "nodes": {"type": "array", "items": NODE}}},
    "a tree through two definitions": {
        "$ref": "#/$defs/node",
        "$defs": {"node": NODE, "nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    },
    "itself": {"type": "object", "properties": {"next": {"$ref": "#"}}},
    "properties named as keywords are": {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": r"\d"}, "maxItems": {"type": "integer"}},
    },
}
USUAL: dict[str, dict[str, Any]] = {
    "lookahead": {"type": "object", "properties": {"code": {"type": "string", "pattern": "^(?=.*[A-Z]).{8,}$"}}},
    "only itself": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/properties/next"}, {}]}}},
    "another document": {"$ref": "https://example.com/schema"},
    "a long text": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 100_000}}},
    "many properties": {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(300)}},
    "many members": {"type": "string", "enum": [str(number) for number in range(1000)]},
    "a property named as keywords are": {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": r"\bd"}, "maxItems": {"type": "integer"}},
    },
    "deeper than a grammar takes": {"items": {"items": {"items": {"items": {"items": {"items": {"items": {"items": {
        "items": {"items": {"items": {"items": {"items": {"items": {"items": {"items": {"items": {}}}}}}}}}}}}}}}}}},
}  # fmt: skip


def tool(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look_up", "parameters": schema, **fields}}


def sent(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    function: dict[str, Any] = engine_body(tools=[tool(schema, **fields)])["tools"][0]["function"]
    return function


@pytest.mark.parametrize("schema", USUAL.values(), ids=USUAL.keys())
def test_any_schema_is_taken_and_engines_get_one_that_they_take(schema: dict[str, Any]) -> None:
    require_bounded_schema(sent(schema)["parameters"])


@pytest.mark.parametrize("schema", BOUNDED.values(), ids=BOUNDED.keys())
def test_a_schema_that_engines_take_reaches_them_as_it_is(schema: dict[str, Any]) -> None:
    assert sent(schema)["parameters"] == schema
    assert sent(schema, strict=True)["parameters"] == schema


@pytest.mark.parametrize("schema", USUAL.values(), ids=USUAL.keys())
def test_a_strict_tool_is_refused_for_such_a_schema(schema: dict[str, Any]) -> None:
    assert refusal(tools=[tool(schema, strict=True)]).param == "tools[0].function.parameters"


def test_the_model_still_reads_what_the_engine_cannot_take() -> None:
    schema = {
        "type": "object",
        "properties": {"year": {"type": "string", "pattern": r"\b\d{4}$", "description": "When."}},
    }
    year = sent(schema)["parameters"]["properties"]["year"]
    assert year == {"type": "string", "description": r"When. pattern: \b\d{4}$"}
    large = sent(USUAL["many properties"], description="Finds.")
    assert large["parameters"] == {"type": "object"}
    assert large["description"].startswith('Finds. Parameters: {"type":"object","properties":{"p0"')


def test_a_schema_within_the_bounds_is_sent_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"year": {"type": "string", "pattern": "^[0-9]{4}$"}},
        "required": ["year"],
    }
    assert sent(schema) == {"name": "look_up", "parameters": schema}
    assert engine_body(tools=[TOOL])["tools"] == [TOOL]


def test_a_schema_is_bounded_also_without_strict() -> None:
    nested: dict[str, Any] = {}
    for _ in range(64):
        nested = {"items": nested}
    assert refusal(tools=[tool(nested)]).param == "tools[0].function.parameters"
    assert refusal(tools=[tool({"description": "x" * 65_536})]).param == "tools[0].function.parameters"


def test_a_description_may_be_long() -> None:
    assert len(sent({}, description="x" * 32_768)["description"]) == 32_768
    assert refusal(tools=[tool({}, description="x" * 32_769)]).param == "tools[0].function.description"
