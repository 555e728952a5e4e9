"""The one place where a failed validation becomes an error in plain words, with the field's name."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from finpool.gateway.errors import InvalidValue, UnknownParameter, UnsupportedParameter
from finpool.gateway.request.messages import KINDS
from finpool.gateway.request.options import FAULT, REFUSED
from finpool.kernel.errors import InvalidRequest

NAME_CHARACTERS_MAX = 128

_UNKNOWN = "extra_forbidden"
_WORDS = {
    "bool_type": "it must be true or false",
    "dict_type": "it must be an object",
    "float_type": "it must be a number",
    "greater_than_equal": "it must be {ge} or more",
    "int_from_float": "it must be a whole number",
    "int_type": "it must be a whole number",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be {le} or less",
    "list_type": "it must be a list",
    "literal_error": "it must be {expected}",
    "model_attributes_type": "it must be an object",
    "model_type": "it must be an object",
    "string_pattern_mismatch": "it must match {pattern}",
    "string_too_long": "it may have {max_length} characters at most",
    "string_too_short": "it may not be empty",
    "string_type": "it must be a text",
    "too_long": "it may have {max_length} entries at most",
    "too_short": "it must have {min_length} or more entries",
    FAULT: "{reason}",
}
"""A sentence for each type of pydantic's errors; its own words name its types and the branches of unions."""


def explain(error: ValidationError, document: Mapping[str, Any]) -> InvalidRequest:
    """Return the error for the first fault: an option that is not served, an unknown field, then any other."""
    problems: list[Any] = error.errors(include_url=False, include_input=False)
    by_kind = {each["type"]: each for each in reversed(problems)}
    problem = by_kind.get(REFUSED) or by_kind.get(_UNKNOWN) or problems[0]
    context = problem.get("ctx", {})
    kind = context["discriminator"].strip("'") if problem["type"].startswith("union_tag") else None
    path = (kind,) if kind else context.get("path", ())
    # A tag at the end says which kind of value was read; an unknown field may be written like one.
    location = problem["loc"][:-1] if _is_tag(problem["loc"][-1]) and problem["type"] != _UNKNOWN else problem["loc"]
    param = _name((*location, *path), document)
    match problem["type"]:
        case "refused":
            return UnsupportedParameter(f"'{param}' is not supported: {context['reason']}.", param=param)
        case "extra_forbidden":
            return UnknownParameter(f"Unknown parameter: '{param}'; leave it out.", param=param)
        case "missing":
            return InvalidValue(f"Missing required parameter: '{param}'.", param=param)
        case "whole":
            words = problem["msg"]
        case error_type:
            words = KINDS[kind] if kind else _WORDS.get(error_type, "it is not valid").format_map(_shown(context))
    return InvalidValue(f"Invalid value for '{param}': {words}.", param=param)


def _name(location: tuple[int | str, ...], document: Any) -> str:
    """Return `("messages", 0, "content")` as `messages[0].content`.

    pydantic's location also names the chosen branch of a union, which is no field: the document cannot be followed
    there. A single text in the place of a list has been read as a list of one.
    """
    location = (*(part for part in location[:-1] if not _is_tag(part)), location[-1])
    name, value = "", document
    for position, part in enumerate(location):
        if isinstance(part, int):
            name += "" if isinstance(value, str) else f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and _is_field(value, part, location[position + 1 :]):
            shown = part[:NAME_CHARACTERS_MAX]
            name += f".{shown}" if name else shown
            value = value.get(part)
    return name


def _shown(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an error with whole numbers as people write them."""
    return {
        name: int(each) if isinstance(each, float) and each.is_integer() else each for name, each in context.items()
    }


def _is_tag(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith("<")


def _is_field(value: Mapping[str, Any], part: str, rest: tuple[int | str, ...]) -> bool:
    return not rest or (isinstance(rest[0], int) and part in value) or isinstance(value.get(part), dict | list)
