"""Strict JSON: an object must not repeat a field, because readers differ in the value that they keep."""

import json
from typing import Any

from finpool.kernel.errors import InvalidRequest


def parse_strictly(body: bytes) -> Any:
    """Parse a body; raise `InvalidRequest` if an object repeats a field, and ValueError for anything but JSON."""
    return json.loads(body, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise InvalidRequest("The body names a field twice.", param=name)
        fields[name] = value
    return fields
