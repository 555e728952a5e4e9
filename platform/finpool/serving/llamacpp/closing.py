"""Schemas of answers and tools without properties that nobody named.

JSON schema allows more properties unless `additionalProperties` says otherwise, and a small model then invents some.
The function behind a tool takes its named parameters only, so such a call would fail. A value of the closed schema is
always one of the schema as it was written.
"""

from collections.abc import Mapping
from typing import Any

import orjson

_OPEN = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties", "minProperties"})
"""Keywords with which an object says something about more properties."""

_COMBINED = frozenset({"anyOf", "oneOf", "not", "if", "$ref", "dependentSchemas", "dependencies"})
"""Keywords with which other schemas describe the same object, so that closing one could leave no value."""

_SCHEMA = ("items", "additionalProperties")
_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "$defs", "definitions")


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with `additionalProperties: false` in each object that names all its properties.

    A schema with `allOf` stays as it is: its parts describe one object together.
    """
    return dict(schema) if b'"allOf"' in orjson.dumps(schema) else _closed(schema)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    for name in _NAMED_SCHEMAS:
        if isinstance(named := schema.get(name), dict):
            result[name] = {key: _closed(each) if isinstance(each, dict) else each for key, each in named.items()}
    for name in _SCHEMAS:
        if isinstance(each_one := schema.get(name), list) and "properties" not in schema:
            result[name] = [_closed(each) if isinstance(each, dict) else each for each in each_one]
    for name in _SCHEMA:
        if isinstance(within := schema.get(name), dict):
            result[name] = _closed(within)
    if _names_all(schema):
        result["additionalProperties"] = False
    return result


def _names_all(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list) or (_OPEN | _COMBINED) & schema.keys():
        return False
    return all(isinstance(name, str) and name in properties for name in required)
