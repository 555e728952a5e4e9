"""The form of JSON schemas: each keyword has a value of its kind, so that every later check can read it."""

from collections.abc import Callable, Mapping
from typing import Any

from finpool.serving.engine.schema_keywords import parts_of

_Check = Callable[[Any], bool]


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _list_of(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


_SCHEMA = (_is_schema, "a schema")
_SCHEMAS = (_list_of(_is_schema), "a list of schemas")
_NAMED_SCHEMAS = (_named_schemas, "an object of schemas")
_TEXT = (_is_text, "a text")
_NUMBER = (_is_number, "a number")
_COUNT = (_is_count, "a whole number, 0 or more")

_FORMS: Mapping[str, tuple[_Check, str]] = {
    "type": (lambda value: _is_text(value) or _list_of(_is_text)(value), "a text or a list of texts"),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), _NAMED_SCHEMAS),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("additionalProperties", "additionalItems"), _SCHEMA),
    "items": (lambda value: _is_schema(value) or _list_of(_is_schema)(value), "a schema or a list of schemas"),
    "required": (_list_of(_is_text), "a list of texts"),
    "enum": (_list_of(lambda _: True), "a list"),
    **dict.fromkeys(("pattern", "format", "$ref"), _TEXT),
    **dict.fromkeys(("minimum", "maximum"), _NUMBER),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(
        ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
        _COUNT,
    ),
}


def require_well_formed(schema: Mapping[str, Any]) -> None:
    """Raise `ValueError` for the first keyword of a schema, or of a part, whose value is not of its kind.

    Recurses into the parts, so the depth of the schema must be bounded before.
    """
    for keyword, value in schema.items():
        if keyword in _FORMS:
            check, form = _FORMS[keyword]
            if not check(value):
                raise ValueError(f"the keyword '{keyword}' must be {form}")
    for _, part in parts_of(schema):
        if isinstance(part, dict):
            require_well_formed(part)
