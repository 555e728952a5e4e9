"""A malformed schema is refused by the keyword at fault, with and without `strict`, and never fails the platform."""

import contextlib
from typing import Any

import pytest
from chat_requests import engine_body, parsed, refusal
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.errors import InvalidRequest
from finpool.serving.engine.schema_keywords import ENFORCED, first_unenforced

ITSELF = {"$ref": "#"}
MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "a number as pattern": ("pattern", {"type": "string", "pattern": 5}),
    "null as pattern": ("pattern", {"type": "string", "pattern": None}),
    "a list as format": ("format", {"type": "string", "format": ["date"]}),
    "a number as required": ("required", {"properties": {"a": ITSELF}, "required": 5}),
    "objects as required": ("required", {"properties": {"a": ITSELF}, "required": [{}]}),
    "an object as type": ("type", {"type": {}, "properties": {"a": ITSELF}}),
    "a number as allOf": ("allOf", {"allOf": 5, "properties": {"a": ITSELF}}),
    "an object as prefixItems": ("prefixItems", {"items": ITSELF, "prefixItems": {"a": 1}, "minItems": 2}),
    "a list as properties": ("properties", {"properties": [ITSELF], "required": ["a"]}),
    "an object as minItems": ("minItems", {"type": "array", "items": ITSELF, "minItems": {"a": 1}}),
    "a negative multipleOf": ("multipleOf", {"type": "number", "multipleOf": -1}),
    "a number as schema": ("items", {"type": "array", "items": 5}),
}
KEYWORDS = (
    *("type", "properties", "patternProperties", "$defs", "anyOf", "allOf", "items", "prefixItems", "required", "enum"),
    *("pattern", "format", "$ref", "minimum", "exclusiveMaximum", "multipleOf", "minItems", "maxLength"),
    *("minProperties", "additionalProperties", "const"),
)


def answer_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def tool(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look_up", "parameters": schema, **fields}}


def chain(links: int, *, backwards: bool = False) -> dict[str, Any]:
    """Return a schema that is reached through so many references."""
    definitions = {f"d{link}": {"$ref": f"#/$defs/d{link + 1}"} for link in range(links)}
    definitions[f"d{links}"] = {"type": "null"}
    if backwards:
        definitions = dict(reversed(definitions.items()))
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


@pytest.mark.parametrize(("keyword", "schema"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_schema_is_refused_by_its_keyword(keyword: str, schema: dict[str, Any]) -> None:
    refused = refusal(response_format=answer_format(schema))
    assert refused.param == "response_format.json_schema.schema"
    assert f"'{keyword}'" in str(refused)
    assert refusal(tools=[tool(schema, strict=True)]).param == "tools[0].function.parameters"


@pytest.mark.parametrize("schema", [each for _, each in MALFORMED.values()], ids=MALFORMED.keys())
def test_a_model_reads_a_malformed_schema_of_a_tool_that_is_not_strict(schema: dict[str, Any]) -> None:
    function = engine_body(tools=[tool(schema)])["tools"][0]["function"]
    assert function["parameters"] == {"type": "object"}
    assert function["description"].startswith("Parameters: ")


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain_of_references_has_too_many_levels(backwards: bool) -> None:
    refused = refusal(response_format=answer_format(chain(450, backwards=backwards)))
    assert "32 levels, references expanded" in str(refused)


def test_a_tool_that_is_not_strict_may_have_a_long_chain_of_references() -> None:
    function = engine_body(tools=[tool(chain(1_500))])["tools"][0]["function"]
    assert "#/$defs/d1500" in function["description"]


def test_a_pattern_repeats_at_least_as_often_as_it_must() -> None:
    refused = refusal(response_format=answer_format({"type": "string", "pattern": "a{2,1}"}))
    assert "pattern" in str(refused)


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.recursive(
        st.none() | st.booleans() | NUMBERS | st.text("a(#$", max_size=3) | st.just("#"),
        lambda within: st.lists(within, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), within, max_size=3),
        max_leaves=8,
    )
)
def test_any_schema_is_taken_or_refused(schema: Any) -> None:
    root = {"type": "object", "properties": {"a": ITSELF, "b": schema}}
    assert engine_body(tools=[tool(root)])["tools"]
    with contextlib.suppress(InvalidRequest):
        taken = parsed(response_format=answer_format(root)).response_format
        assert taken is not None
        assert taken.json_schema is not None
        for enforced in ENFORCED.values():
            first_unenforced(taken.json_schema.schema_, enforced)
