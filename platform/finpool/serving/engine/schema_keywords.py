"""The keywords of JSON schema (drafts 7 to 2020-12) that hold in every answer, for each kind of engine.

The gateway refuses a schema with any other keyword by its name, because an engine would drop it in silence. The tests
of conformance prove each row with generated schemas on real engines.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finpool.catalogue.model.engine import LlamaCppEngine, OpenAiEngine, VllmEngine

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$schema", "$comment", "discriminator"),
    }
)
"""Keywords that describe and require nothing. `discriminator` only says which branch to look at first."""

_NAMES_OF_THE_WHOLE = frozenset({"$id", "id", "$anchor"})
"""At the root they name the schema; deeper they would change what a `$ref` means."""

_COMMON = frozenset(
    {
        *("type", "enum", "const", "anyOf", "$ref", "$defs", "definitions"),
        *("properties", "additionalProperties", "required", "items", "minItems", "maxItems", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)


@dataclass(frozen=True, slots=True)
class Enforced:
    """The keywords and the formats of texts that an engine enforces, and the reason for which it can be believed."""

    keywords: frozenset[str]
    formats: frozenset[str]
    reason: str
    escaped_literals: bool = True
    """Whether a pattern may name a character that JSON escapes, such as a quotation mark."""


GUIDANCE = Enforced(
    _COMMON
    | {
        *("oneOf", "allOf", "patternProperties", "minProperties", "maxProperties"),
        *("prefixItems", "additionalItems", "minLength", "maxLength"),
    },
    frozenset({"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    "the grammars of llguidance, which llama.cpp and vLLM run here",
)

LLAMA_CPP = replace(GUIDANCE, escaped_literals=False)
"""llguidance 1.0.1, which llama.cpp holds, loses the rest of a pattern behind such a character; 1.7.6 does not."""

VLLM_CHOSEN_CALL = Enforced(
    GUIDANCE.keywords - {"pattern", "patternProperties", "format"},
    frozenset(),
    "a check of the finished call: no grammar holds a call that a model on vLLM chooses to make",
)
"""A check by Python's own patterns could take for ever, so such keywords need a call that is required."""

OPENAI = Enforced(
    _COMMON,
    GUIDANCE.formats,
    "OpenAI's own promise for structured outputs; the platform cannot see a remote engine's grammar",
)

ENFORCED: Mapping[type[LlamaCppEngine | VllmEngine | OpenAiEngine], Enforced] = {
    LlamaCppEngine: LLAMA_CPP,
    VllmEngine: GUIDANCE,
    OpenAiEngine: OPENAI,
}

_ATOM = re.compile(r"\\.|\[(?:\\.|[^\\\]])*\]|.", re.DOTALL)
_ESCAPED = frozenset({'"', r"\"", r"\\", *(rf"\{letter}" for letter in "nrtfv"), *map(chr, range(0x20)), "\x7f"})
"""The characters that JSON escapes, as a pattern names them."""

_SCHEMA = frozenset({"additionalProperties", "additionalItems", "items"})
_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})

LEAVE_OUT = "leave it out and check the answer"

_ADVICE = {
    "nullable": "write the type as a list with 'null'",
    "dependencies": "split the object with anyOf",
    "if": "split the object with anyOf",
}


@dataclass(frozen=True, slots=True)
class Unenforced:
    """A keyword that would have no effect: its place within the schema, and the rule in words."""

    path: tuple[str | int, ...]
    rule: str
    advice: str = LEAVE_OUT


def parts_of(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the schemas directly within a schema, each with its path."""
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            yield from (((keyword, name), each) for name, each in value.items())
        elif keyword in _SCHEMAS and isinstance(value, list):
            yield from (((keyword, index), each) for index, each in enumerate(value))
        elif keyword in _SCHEMA:
            yield (keyword,), value


def with_parts(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema with each schema directly within it changed."""
    changed: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            changed[keyword] = {name: change(each) for name, each in value.items()}
        elif keyword in _SCHEMAS and isinstance(value, list):
            changed[keyword] = [change(each) for each in value]
        else:
            changed[keyword] = change(value) if keyword in _SCHEMA else value
    return changed


def first_unenforced(schema: Any, enforced: Enforced) -> Unenforced | None:
    """Return the first keyword of a schema that does not hold, or None if all of them do."""
    return next(_unenforced(schema, enforced, ()), None)


def _names_escaped(pattern: str) -> bool:
    """Tell whether a pattern names an escaped character; a class of one character is that character."""
    return any(atom in _ESCAPED or (atom[0] == "[" and atom[1:-1] in _ESCAPED) for atom in _ATOM.findall(pattern))


def _is_below_zero(schema: Mapping[str, Any]) -> bool:
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    return (isinstance(most, int | float) and most < 0) or (isinstance(below, int | float) and below <= 0)


def _unenforced(schema: Any, enforced: Enforced, path: tuple[str | int, ...]) -> Iterator[Unenforced]:
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        here = (*path, keyword)
        if keyword in ANNOTATIONS or (keyword in _NAMES_OF_THE_WHOLE and not path):
            continue
        if keyword not in enforced.keywords:
            yield Unenforced(here, f"the keyword '{keyword}'", _ADVICE.get(keyword, LEAVE_OUT))
        elif (rule := _unenforced_value(schema, keyword, value, enforced)) is not None:
            yield Unenforced(here, rule)
    for within, part in parts_of(schema):
        yield from _unenforced(part, enforced, (*path, *within))


def _unenforced_value(schema: Mapping[str, Any], keyword: str, value: Any, enforced: Enforced) -> str | None:
    match keyword:
        case "format" if value not in enforced.formats:
            return f"the format '{value}'"
        case "exclusiveMinimum" | "exclusiveMaximum" if isinstance(value, bool):
            return f"'{keyword}' of draft 4; it must be a number"
        case "pattern" | "patternProperties" if not enforced.escaped_literals and any(
            map(_names_escaped, [value] if isinstance(value, str) else value)
        ):
            return "a quotation mark, backslash or control character outside a class of a pattern"
        case "multipleOf" if _is_below_zero(schema):
            # llguidance writes multiples without a sign, so a range below zero has none that it could write.
            return "'multipleOf' in a range below zero"
        case "minProperties" if isinstance(value, int):
            # A grammar cannot know that two names are equal, and a repeated name is one property.
            required = schema.get("required")
            if value > max(1, len(set(required)) if isinstance(required, list) else 0):
                return "'minProperties' above the number of required properties"
    return None
