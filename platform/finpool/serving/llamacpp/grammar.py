"""The grammar of a JSON answer, in the words of llguidance, which llama.cpp runs for grammars that begin so.

Its answer ends with the value's last character. llama.cpp makes another grammar of a `response_format`: it enforces
fewer keywords, and the model may write white space around the value, which no client gets.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from finpool.serving.engine.patterns import with_ecma_patterns
from finpool.serving.engine.schema_keywords import LLAMA_CPP, first_unenforced
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.closing import closed
from finpool.serving.llamacpp.guidance import HEAD, SPACING, unreadable


def answer_rule(response_format: Mapping[str, Any]) -> str | None:
    """Return the rule `answer` of a `response_format`, or None for free text.

    Raises `EngineRefused` for a schema that would not hold: without a valid grammar llama.cpp would answer with any
    text.
    """
    if response_format["type"] == "text":
        return None
    schema: Any = {"type": "object"}
    if response_format["type"] == "json_schema":
        schema = response_format["json_schema"]["schema"]
        if (found := first_unenforced(schema, LLAMA_CPP)) is not None:
            raise _refused(f"it does not enforce {found.rule}")
        schema = with_ecma_patterns(schema)
    if isinstance(schema, dict) and _unreadable(narrow := _rule(closed(schema))) is None:
        return f"answer: {narrow}"
    rule = _rule(schema)
    if (reason := _unreadable(rule)) is not None:
        raise _refused(reason)
    return f"answer: {rule}"


def _rule(schema: Any) -> str:
    spaced = {**schema, "x-guidance": SPACING} if isinstance(schema, dict) else schema
    return f"%json {orjson.dumps(spaced).decode()}"


def _unreadable(rule: str) -> str | None:
    return unreadable(f"{HEAD}start: {rule}")


def _refused(reason: str) -> EngineRefused:
    return EngineRefused(
        f"The model's engine cannot enforce this schema: {reason}.", param="response_format.json_schema.schema"
    )
