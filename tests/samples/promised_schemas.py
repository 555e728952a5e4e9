"""Generated schemas out of the keywords that the engines here enforce, and the check of an answer."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
from hypothesis import strategies as st

_FORMATS = jsonschema.FormatChecker()


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    # RFC 3339 has a year 0 and leap seconds, and Python has neither.
    return not isinstance(value, str) or bool(
        dt.datetime.fromisoformat(value.upper().replace(":60", ":59").replace("0000-", "0004-")).tzinfo
    )


@_FORMATS.checks("time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(dt.time.fromisoformat(value.upper().replace(":60", ":59")).tzinfo)


_ECMA_SPACES = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_IN_PYTHON = {r"\s": f"[{_ECMA_SPACES}]", r"\S": f"[^{_ECMA_SPACES}]", ".": "[^\n\r\u2028\u2029]"}


def _matches(_: Any, pattern: str, value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    """Match as ECMA 262 does; Python takes other digits, letters and spaces, and a `$` before the last line's end."""
    for word, meaning in _IN_PYTHON.items():
        pattern = pattern.replace(word, meaning)
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value, re.ASCII):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_VALIDATOR: Any = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _matches})  # type: ignore[no-untyped-call]


def require_valid(text: str, schema: Any) -> None:
    """Raise `ValueError` or jsonschema's error unless the text is a value of the schema."""
    _VALIDATOR(schema, format_checker=_FORMATS).validate(json.loads(text))


PATTERNS = (
    *(
        "^[A-Z]{2}[0-9]{2}$",
        "^(foo|bar)x?$",
        "^[a-f]+$",
        "^.{2,3}$",
        "^[^a-z]{1,3}$",
        "x$",
        r"^[\\/]{2}$",
        '^["a-z]{3}$',
    ),
    *(r"^\d{2,4}$", r"^\w+-\w$", r"^\S+\s\S$", r"[A-Z]\d", r"^\D\W", r"^[^\d,]{1,4}$"),
)
NAMES = st.sampled_from(["a", "not", "rate", "名", 'q"'])
_EIGHTHS = st.integers(-80, 80).map(lambda eighths: eighths / 8)


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    """Return a schema of bounded numbers."""
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(st.integers(-50, 50) if kind == "integer" else _EIGHTHS)
    schema: dict[str, Any] = {"type": kind, draw(st.sampled_from(["minimum", "exclusiveMinimum"])): low}
    high = low + draw(st.integers(6, 40))
    schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = high
    if high > 0 and draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([2, 3] if kind == "integer" else [0.5, 0.25, 2]))
    return schema


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    """Return a schema of short texts."""
    kind = draw(st.sampled_from(["length", "pattern", "format"]))
    if kind == "length":
        least = draw(st.integers(0, 3))
        return {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 6))}
    if kind == "pattern":
        pattern = draw(st.sampled_from(PATTERNS))
        return {"type": "string", "pattern": pattern, "maxLength": 8}
    formats = ["date-time", "time", "ipv4", "ipv6", "uuid"]
    return {"type": "string", "format": draw(st.sampled_from(formats))}


CONSTANTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.lists(st.sampled_from([1, -0.5, "a", "é\n", None, True, {"x": [1]}, []]), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    st.sampled_from([0, "a", None, False]).map(lambda value: {"const": value}),
    st.just({"type": ["boolean", "null"]}),
)


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Return a schema of objects; required names need not be among the properties."""
    properties = draw(st.dictionaries(NAMES, parts, max_size=3))
    required = draw(st.lists(NAMES, unique=True, max_size=2))
    extra = draw(st.one_of(st.just(False), parts))
    if extra is False:
        required = [name for name in required if name in properties]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": extra,
    }
    if extra is not False:
        # Without a bound the small model writes properties until its tokens are used up.
        schema["required"] = sorted({*required, *properties})
        schema["maxProperties"] = len(schema["required"]) + 1
    return schema


@st.composite
def lists(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Return a schema of short lists."""
    if draw(st.booleans()):
        first = draw(st.lists(parts, min_size=1, max_size=2))
        return {"type": "array", "prefixItems": first, "items": False, "minItems": draw(st.integers(0, len(first)))}
    least = draw(st.integers(0, 2))
    return {"type": "array", "items": draw(parts), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}


def _alternatives(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(parts, min_size=1, max_size=3).map(lambda each: {"anyOf": each})


_NEXT = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
RECURSIVE: list[dict[str, Any]] = [
    {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"enum": ["a", 1]}, "next": _NEXT},
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
    },
    {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}]},
]


@st.composite
def whole_schemas(draw: st.DrawFn) -> Any:
    """Return a schema; one in eight refers to itself."""
    return draw(st.sampled_from(RECURSIVE) if draw(st.integers(0, 7)) == 0 else _FLAT)


LEAVES = st.one_of(numbers(), texts(), CONSTANTS)
_FLAT = st.recursive(LEAVES, lambda parts: st.one_of(objects(parts), lists(parts), _alternatives(parts)), max_leaves=5)
SCHEMAS = whole_schemas()
