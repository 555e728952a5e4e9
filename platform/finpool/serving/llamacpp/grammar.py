"""The grammar of a JSON answer, in the words of llguidance, which llama.cpp runs for grammars that begin so.

Its answer ends with the value's last character. llama.cpp makes another grammar of a `response_format`: it enforces
fewer keywords, and the model may write white space around the value, which no client gets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from finpool.serving.errors import EngineRefused

_HEAD = "%llguidance {}\nstart: %json "

ENFORCED = frozenset(
    {
        *("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions"),
        *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
        *("items", "prefixItems", "additionalItems", "minItems", "maxItems", "minLength", "maxLength"),
        *("pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)
"""Keywords that hold in every answer."""

FORMATS = frozenset({"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})

_ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$schema", "$id", "$comment", "$anchor", "id", "nullable", "contentEncoding", "contentMediaType"),
        "discriminator",
    }
)
_SCHEMA = frozenset({"additionalProperties", "additionalItems", "items"})
_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})


def grammar_of(response_format: Mapping[str, Any]) -> str | None:
    """Return the grammar of a `response_format`, or None for free text.

    Raises `EngineRefused` for a schema with a keyword that would not hold: without a valid grammar llama.cpp would
    answer with any text.
    """
    if response_format["type"] == "text":
        return None
    schema: Any = {"type": "object"}
    if response_format["type"] == "json_schema":
        schema = response_format["json_schema"]["schema"]
        for keyword in _unknown(schema):
            raise EngineRefused(f"The model's engine does not enforce {keyword} in a schema.", param="response_format")
    # At most one branch of a `oneOf` that tells its branches apart can match, which is what `anyOf` enforces.
    options = {"x-guidance": {"coerce_one_of": True}} if isinstance(schema, dict) else {}
    return _HEAD + orjson.dumps({**schema, **options} if options else schema).decode()


def _unknown(schema: Any) -> Iterator[str]:
    """Yield the keywords of a schema, and of those within it, that the engine does not enforce."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword not in ENFORCED and keyword not in _ANNOTATIONS:
            yield f"'{keyword}'"
        elif keyword == "format" and value not in FORMATS:
            yield f"the format '{value}'"
        elif keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            for each in value.values():
                yield from _unknown(each)
        elif keyword in _SCHEMAS and isinstance(value, list):
            for each in value:
                yield from _unknown(each)
        elif keyword in _SCHEMA:
            yield from _unknown(value)
