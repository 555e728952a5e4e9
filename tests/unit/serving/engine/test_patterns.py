"""Patterns keep the meaning that JSON schema gives them."""

import re
from typing import Any

import pytest

from finpool.serving.engine.patterns import ecma_pattern, with_ecma_patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (r"^\s$", [" ", "\u00a0", "\ufeff", "\u2028"], ["\x85", "\x1c", "a"]),
        (r"^\S$", ["\x85", "a"], [" ", "\ufeff"]),
        (r"^[\s,]$", ["\ufeff", ","], ["\x85", "."]),
        (r"^[^\S,]$", ["\ufeff"], ["\x85", ","]),
        ("^.$", ["a", "\x85"], ["\n", "\r", "\u2028", "\u2029"]),
        (r"^\.[.]$", [".."], ["a.", ".a"]),
        (r"^\\s$", ["\\s"], [" "]),
        (r"^[\].]$", ["]", "."], ["a"]),
    ],
)
def test_spaces_and_any_character_are_those_of_ecma_262(pattern: str, matching: list[str], others: list[str]) -> None:
    # Python has no class within a class, so one that stands in another loses its brackets.
    written = re.sub(
        r"\[(\^?)\[(\^?)(.*?)\](.*?)\]", r"[\1\3\4]" if r"\S" not in pattern else r"[\3]", ecma_pattern(pattern)
    )
    assert [text for text in matching + others if re.search(written, text)] == matching


def test_only_patterns_of_a_schema_are_changed() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "."}, "b": {"enum": ["."], "description": "."}},
        "patternProperties": {r"\s": {"items": [{"pattern": r"\d"}]}},
        "$defs": {"c": {"anyOf": [{"pattern": r"\S"}, True]}},
    }
    changed = with_ecma_patterns(schema)
    assert changed["properties"] == {
        "pattern": {"type": "string", "pattern": ecma_pattern(".")},
        "b": schema["properties"]["b"],
    }
    assert changed["patternProperties"] == {ecma_pattern(r"\s"): {"items": [{"pattern": r"\d"}]}}
    assert changed["$defs"] == {"c": {"anyOf": [{"pattern": ecma_pattern(r"\S")}, True]}}
    assert schema["$defs"] == {"c": {"anyOf": [{"pattern": r"\S"}, True]}}
