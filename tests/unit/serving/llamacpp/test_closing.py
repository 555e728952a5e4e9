"""A tool's arguments have the properties that its schema names, unless the schema says something about others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from promised_schemas import SCHEMAS

from finpool.serving.llamacpp.closing import closed

TEXT = {"type": "string"}
NAMED = {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}
EXTRA = {"city": "Paris", "days": 3}


def allows(schema: Any, value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (NAMED, lambda value: value),
        ({"type": "array", "items": NAMED}, lambda value: [value]),
        ({"anyOf": [NAMED, {"type": "null"}]}, lambda value: value),
        ({"$defs": {"a": NAMED}, "$ref": "#/$defs/a"}, lambda value: value),
        ({"type": "object", "additionalProperties": NAMED}, lambda value: {"a": value}),
        ({"type": "object", "properties": {"a": NAMED}}, lambda value: {"a": value}),
    ],
)
def test_nobody_adds_a_property_wherever_the_object_stands(schema: dict[str, Any], place: Any) -> None:
    assert allows(schema, place(EXTRA))
    assert not allows(closed(schema), place(EXTRA))
    assert allows(closed(schema), place({"city": "Paris"}))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "patternProperties": {"^d": {}}},
        {**NAMED, "required": ["city", "days"]},
        {**NAMED, "minProperties": 2},
        {**NAMED, "required": [["city"]]},
        {**NAMED, "anyOf": [{"properties": {"days": {}}}]},
        {"allOf": [NAMED, {"properties": {"days": {}}}]},
    ],
)
def test_an_object_that_says_something_about_others_stays_open(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema


def test_a_function_without_parameters_takes_none() -> None:
    assert not allows(closed({"type": "object", "properties": {}}), {"a": 1})


def opened(schema: Any) -> Any:
    """Return a schema without the word on more properties, at every place."""
    if isinstance(schema, list):
        return [opened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: opened(each) for name, each in schema.items() if name != "additionalProperties"}


@given(schema=SCHEMAS.map(opened), data=st.data())
def test_a_value_of_the_closed_schema_is_one_of_the_schema(schema: dict[str, Any], data: st.DataObject) -> None:
    names = st.sampled_from(["a", "not", "rate", "名", "other"])
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-60, 60), st.text(max_size=3))
    values = st.recursive(
        leaves, lambda parts: st.one_of(st.lists(parts, max_size=3), st.dictionaries(names, parts, max_size=3))
    )
    value = data.draw(values)
    assert allows(schema, value) or not allows(closed(schema), value)
