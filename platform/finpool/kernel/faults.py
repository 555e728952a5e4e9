"""Faults of a validation in words for people."""

from collections.abc import Mapping
from typing import Any

_UNKNOWN = "extra_forbidden"
_PREFIXES = ("Value error, ", "Assertion failed, ")
"""pydantic writes these before the words of our own checks, for programmers."""


def words_of(fault: Mapping[str, Any]) -> str:
    """Return the reason of one of pydantic's faults, `ValidationError.errors()[n]`, such as `Field required`."""
    if fault["type"] == _UNKNOWN:
        return "is not known here: leave it out"
    words = str(fault["msg"])
    for prefix in _PREFIXES:
        words = words.removeprefix(prefix)
    return words
