"""Schemas that refer to themselves: each part needs a value that ends, and a list or object between it and itself."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from finpool.serving.engine.schema_keywords import parts_of

_COMBINATIONS = ("anyOf", "oneOf", "allOf")


def require_finite(root: dict[str, Any], target: Callable[[str], Any]) -> None:
    """Raise `ValueError` unless each part of a recursive schema has a value that ends.

    `target` returns the schema that a `$ref` points to. An engine that wrote such a value would never end it.
    """
    parts = list(_all_parts(root))
    for part in parts:
        _require_distance(part, target)
    finite: set[int] = set()
    while found := [part for part in parts if id(part) not in finite and _ends(part, finite, target)]:
        finite.update(map(id, found))
    if len(finite) < len({id(part) for part in parts}):
        raise ValueError("a schema that refers to itself must have a value that ends, such as null or an empty list")


def _all_parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for _, part in parts_of(schema):
            yield from _all_parts(part)


def _same_place(part: Mapping[str, Any], target: Callable[[str], Any]) -> Iterator[Any]:
    """Yield the schemas that hold for the same value as a part."""
    if isinstance(reference := part.get("$ref"), str):
        yield target(reference)
    for keyword in _COMBINATIONS:
        if isinstance(branches := part.get(keyword), list):
            yield from branches


def _require_distance(start: dict[str, Any], target: Callable[[str], Any]) -> None:
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        for each in _same_place(waiting.pop(), target):
            if each is start:
                raise ValueError("a schema may refer to itself only within a property or an item")
            if isinstance(each, dict) and id(each) not in seen:
                seen.add(id(each))
                waiting.append(each)


def _ends(part: Mapping[str, Any], finite: set[int], target: Callable[[str], Any]) -> bool:
    def holds(schema: Any) -> bool:
        return id(schema) in finite if isinstance(schema, dict) else schema is not False

    if isinstance(reference := part.get("$ref"), str) and not holds(target(reference)):
        return False
    if not all(map(holds, part.get("allOf") or ())):
        return False
    for keyword in ("anyOf", "oneOf"):
        if part.get(keyword) and not any(map(holds, part[keyword])):
            return False
    kind = part.get("type")
    kinds = set(kind) if isinstance(kind, list) else {kind}
    if "enum" in part or "const" in part or kinds - {"object", "array"}:
        return True
    return ("object" in kinds and _object_ends(part, holds)) or ("array" in kinds and _list_ends(part, holds))


def _object_ends(part: Mapping[str, Any], holds: Callable[[Any], bool]) -> bool:
    properties, others = part.get("properties") or {}, part.get("additionalProperties", True)
    return all(holds(properties.get(name, others)) for name in part.get("required") or ())


def _list_ends(part: Mapping[str, Any], holds: Callable[[Any], bool]) -> bool:
    items = part.get("items", True)
    first, others = (items, part.get("additionalItems", True)) if isinstance(items, list) else ((), items)
    first = part.get("prefixItems") or first
    return all(holds(first[index] if index < len(first) else others) for index in range(part.get("minItems") or 0))
