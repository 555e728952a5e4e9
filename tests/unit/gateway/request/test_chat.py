"""The accepted fields of a chat completion request, before any engine is asked."""

import re
from typing import Any

import orjson
import pytest

from finpool.gateway.errors import InvalidValue
from finpool.gateway.request.intake import parse_chat_request
from finpool.gateway.request.pattern_bounds import pattern_places
from finpool.gateway.request.schema_bounds import require_bounded_schema

TEXT = {"type": "string"}
INTEGER = {"type": "integer", "minimum": -987654321987654321, "maximum": 1234567890123456789}
TOOL = {"type": "function", "function": {"name": "f"}}


def asked(**fields: Any) -> Any:
    messages = [{"role": "user", "content": "Hello"}]
    return parse_chat_request(orjson.dumps({"model": "small", "messages": messages, **fields}))


def refusal(**fields: Any) -> InvalidValue:
    with pytest.raises(InvalidValue) as refused:
        asked(**fields)
    return refused.value


def object_of(properties: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, **fields}


def one(schema: dict[str, Any]) -> dict[str, Any]:
    return object_of({"a": schema}, required=["a"])


def chain(length: int) -> dict[str, Any]:
    """Return a schema whose definitions each refer twice to the next."""
    links = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(length)}
    return {**one({"$ref": "#/$defs/d0"}), "$defs": {**links, f"d{length}": TEXT}}


TOO_COSTLY = {
    "1,000 optional properties, half a minute": object_of({f"p{i}": TEXT for i in range(1000)}),
    "2,000 optional properties, never": object_of({f"p{i}": TEXT for i in range(2_000)}),
    "101 properties": object_of({f"p{i}": TEXT for i in range(101)}),
    "101 properties by reference": {
        **object_of({"a": {"$ref": "#/$defs/d"}, "b": {"$ref": "#/$defs/d"}}),
        "$defs": {"d": object_of({f"p{i}": TEXT for i in range(50)})},
    },
    "30 definitions of two references each": chain(30),
    "a chain of references deeper than it is written": {
        **one({"$ref": "#/$defs/d0"}),
        "$defs": {**{f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(200)}, "d200": TEXT},
    },
    "a chain that is written from its end": {
        **one({"$ref": "#/$defs/d0"}),
        "$defs": {"d200": TEXT, **{f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in reversed(range(200))}},
    },
    "a schema that is itself": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    "a reference to another document": one({"$ref": "http://127.0.0.1/schema"}),
    "a reference to nothing": one({"$ref": "#/$defs/none"}),
    "257 members of enumerations": object_of({"a": {"enum": list(range(200))}, "b": {"enum": list(range(57))}}),
    "100 ranges at one place, two and a half seconds": one({"anyOf": [INTEGER] * 100}),
    "a long text": one({**TEXT, "maxLength": 1025}),
    "a text of at least a million": one({**TEXT, "minLength": 1_000_000}),
    "a long list": one({"type": "array", "items": TEXT, "maxItems": 257}),
    "a length that is no number": one({**TEXT, "maxLength": "9"}),
    "a fraction of an item": one({"type": "array", "minItems": 1.5}),
    "16 patterns at one place": one({"anyOf": [{**TEXT, "pattern": "^[a-z]{0,60}$"}] * 16}),
    "17 levels": {"anyOf": [{"anyOf": [{"anyOf": [{"anyOf": [{"anyOf": [one(one(one(TEXT)))]}]}]}]}]},
    "more bytes than are taken": {"type": "string", "description": "x" * 16_384},
}


@pytest.mark.parametrize("schema", TOO_COSTLY.values(), ids=TOO_COSTLY.keys())
def test_a_schema_that_an_engine_could_spend_too_long_on_is_refused_naming_its_field(schema: dict[str, Any]) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert str(refusal(response_format=response_format).param).startswith("response_format.json_schema")
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    assert refusal(tools=[tool]).param == "tools[0].function.parameters"


def test_nesting_deeper_than_python_can_follow_is_refused() -> None:
    nested = b'{"a":' * 950 + b"1" + b"}" * 950
    with pytest.raises(ValueError, match="levels deep"):
        require_bounded_schema(orjson.loads(nested))


USUAL = {
    "100 optional properties": object_of({f"p{i}": TEXT for i in range(100)}),
    "definitions used once": {
        **one({"type": "array", "items": {"$ref": "#/$defs/d"}, "maxItems": 256}),
        "$defs": {"d": object_of({f"p{i}": {"anyOf": [TEXT, {"type": "null"}]} for i in range(90)})},
    },
    "properties named as keywords are": object_of(
        dict.fromkeys(("pattern", "maxItems", "enum", "$ref", "properties", "$defs"), TEXT)
    ),
    "16 ranges at one place": one({"anyOf": [INTEGER] * 16}),
    "nested lists": one({"type": "array", "items": {"type": "array", "items": INTEGER, "minItems": 2}}),
}


@pytest.mark.parametrize("schema", USUAL.values(), ids=USUAL.keys())
def test_a_usual_schema_is_taken(schema: dict[str, Any]) -> None:
    require_bounded_schema(schema)


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", 34),
        (r"^\d{4}-\d{2}-\d{2}$", 10),
        (r"^-?[0-9]+(\.[0-9]{1,2})?$", 6),
        (r"^([0-9]{3}\.){3}[0-9]{1,3}$", 15),
        (r"^[\w.+-]+@(\w+\.)+\w{2,}$", 13),
        ("^(foo|bar)$", 6),
        (r"^[\].-]*$", 2),
        (r'^"[^"\\]*"$', 4),
        (r"\S.\s", 3),
        (r"^\^\$", 2),
        (r"cost\$", 5),
        ("^(|a)x?$", 2),
        ("^$", 0),
        ("", 0),
    ],
)
def test_a_usual_pattern_is_taken(pattern: str, places: int) -> None:
    assert pattern_places(pattern) == places
    re.compile(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a?b?c?d?){0,200}x$",
        "^((a{8}){8}){5}$",
        "^" + "a?" * 17 + "$",
        "^a{257}$",
        "^" + "(ab)" * 80 + "$",
    ],
)
def test_a_pattern_with_too_many_ways_to_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a pattern may"):
        pattern_places(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "^a*?$",
        "^(?=a)b$",
        r"\bfoo",
        r"(a)\1",
        r"^\p{L}$",
        "^a)$",
        "^(a$",
        "^*$",
        "^[z-a]$",
        r"^[a-\d]$",
        r"^[\w-z]$",
        "^[a&&b]$",
        "^[[:alpha:]]$",
        "^[]a]$",
        "a^b",
        "foo|^bar",
        "(a$)",
    ],
)
def test_a_pattern_that_engines_do_not_take_or_read_in_their_own_way_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a pattern"):
        pattern_places(pattern)


def recursive(**parts: Any) -> dict[str, Any]:
    return {"$ref": "#/$defs/a", "$defs": parts}


NODE = {"$ref": "#/$defs/a"}
NULL = {"type": "null"}
ENDLESS = {
    "only itself": {"$ref": "#"},
    "two that are each other": recursive(a={"$ref": "#/$defs/b"}, b=NODE),
    "itself among its alternatives": {"anyOf": [{"$ref": "#"}, NULL]},
    "a required property that never ends": recursive(a={**object_of({"next": NODE}), "required": ["next"]}),
    "a list that is never empty": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "an optional property that never ends": recursive(
        a=object_of({"b": {"$ref": "#/$defs/b"}}), b={**object_of({"b": {"$ref": "#/$defs/b"}}), "required": ["b"]}
    ),
}


@pytest.mark.parametrize("schema", list(ENDLESS.values()), ids=list(ENDLESS))
def test_a_recursive_schema_that_an_engine_would_never_end_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="itself"):
        require_bounded_schema(schema)


ENDING = {
    "a list": recursive(a={**object_of({"next": {"anyOf": [NODE, NULL]}}), "required": ["next"]}),
    "a list that holds itself or null": recursive(a={"anyOf": [{"type": "array", "items": NODE, "minItems": 1}, NULL]}),
    "a tree": recursive(a={**object_of({"parts": {"type": "array", "items": NODE}}), "required": ["parts"]}),
    "an optional property": {"type": "object", "properties": {"next": {"$ref": "#"}}},
    "through two definitions": recursive(
        a={"type": "array", "items": {"$ref": "#/$defs/b"}}, b={**object_of({"a": NODE}), "required": ["a"]}
    ),
    "an alternative that ends": {"oneOf": [{"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}, NULL]},
}


@pytest.mark.parametrize("schema", ENDING.values(), ids=ENDING.keys())
def test_a_recursive_schema_whose_values_end_is_taken(schema: dict[str, Any]) -> None:
    require_bounded_schema(schema)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: "x"}}, "metadata"),
        ({"repetition_penalty": 1e-300}, "repetition_penalty"),
        ({"repetition_penalty": 2.1}, "repetition_penalty"),
        ({"tools": [{"type": "function", "function": {"name": "f" * 65}}]}, "tools[0].function.name"),
        ({"messages": [{"role": "user", "content": "x", "name": "n" * 65}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "content": "x", "refusal": "No."}]}, "messages[0].refusal"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ],
)
def test_a_value_that_would_be_ignored_or_harm_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert str(refusal(**fields).param).startswith(param)


def test_what_clients_send_back_of_an_answer_and_null_are_taken() -> None:
    answer = {"role": "assistant", "content": "x", "refusal": None, "reasoning_content": None, "tool_calls": None}
    asked(messages=[answer], tool_choice=None, parallel_tool_calls=None, stop=None, metadata={"a": "x"})
    asked(tools=[TOOL], tool_choice="auto", parallel_tool_calls=True, stop=["a"], repetition_penalty=0.1)
