"""How large a JSON schema may be: an engine compiles it before anybody can stop it, and a bad one takes all of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from finpool.gateway.request.pattern_bounds import PATTERN_REPEATS_MAX, pattern_places

SCHEMA_BYTES_MAX = 16_384
"""What is not counted below (names, descriptions, numbers) costs as much as it is long."""

SCHEMA_DEPTH_MAX = 16
"""Levels of objects and lists as they are written."""

SCHEMA_EXPANDED_DEPTH_MAX = 32
"""The same with every `$ref` replaced by what it points to; types that share a definition need more."""

SCHEMA_PROPERTIES_MAX = 100
"""Properties, references expanded: optional ones cost their square, 1,000 of them half a minute."""

SCHEMA_NODES_MAX = 2_000
"""Objects and lists, references expanded: 30 definitions of two references each would be a thousand million."""

SCHEMA_ENUM_MAX = 256
"""Members of all enumerations: each is followed at the same time, 1,000 of them for seconds."""

SCHEMA_ALTERNATIVES_MAX = 16
"""Alternatives (`anyOf`, `oneOf`, `allOf`) that may hold at the same place, references expanded.

What one of them costs, so many cost at once: 100 ranges of integers took two and a half seconds.
"""

SCHEMA_ITEMS_MAX = 256
SCHEMA_LENGTH_MAX = 1_024
"""Each count becomes as many rules, and above 2,000 the engine refuses."""

_DEFINITIONS = ("$defs", "definitions")
_COUNTS_MAX = {
    "minItems": SCHEMA_ITEMS_MAX,
    "maxItems": SCHEMA_ITEMS_MAX,
    "minLength": SCHEMA_LENGTH_MAX,
    "maxLength": SCHEMA_LENGTH_MAX,
}


@dataclass(frozen=True, slots=True)
class _Size:
    """What a part of a schema comes to once its references are expanded."""

    depth: int = 0
    nodes: int = 0
    properties: int = 0
    members: int = 0
    alternatives: int = 0
    places: int = 0


@dataclass(slots=True)
class _Measure:
    """Measures each part of one schema once, however often it is referred to."""

    root: dict[str, Any]
    known: dict[int, _Size | None] = field(default_factory=dict)

    def size(self, part: Any) -> _Size:
        """Return the size of `part`; raise `ValueError` for one that is too large or refers to itself."""
        if not isinstance(part, dict | list):
            return _Size()
        if id(part) in self.known:
            known = self.known[id(part)]
            if known is None:
                raise ValueError("a schema may not refer to itself")
            return known
        self.known[id(part)] = None
        sizes = [self.size(child) for child in self._children(part)]
        own = _own(part) if isinstance(part, dict) else _Size()
        # The parts of a list may hold at the same time; those of an object come one after the other.
        together = sum if isinstance(part, list) else _largest
        size = _Size(
            depth=1 + _largest(each.depth for each in sizes),
            nodes=1 + sum(each.nodes for each in sizes),
            properties=own.properties + sum(each.properties for each in sizes),
            members=own.members + sum(each.members for each in sizes),
            alternatives=max(own.alternatives, together(each.alternatives for each in sizes)),
            places=max(own.places, together(each.places for each in sizes)),
        )
        _require_at_most(size.depth, SCHEMA_EXPANDED_DEPTH_MAX, "levels, references expanded")
        _require_at_most(size.nodes, SCHEMA_NODES_MAX, "parts, references expanded")
        _require_at_most(size.properties, SCHEMA_PROPERTIES_MAX, "properties, references expanded")
        _require_at_most(size.members, SCHEMA_ENUM_MAX, "members of enumerations, references expanded")
        _require_at_most(size.alternatives, SCHEMA_ALTERNATIVES_MAX, "alternatives at one place, references expanded")
        _require_at_most(size.places, PATTERN_REPEATS_MAX, "characters of patterns that are alternatives")
        self.known[id(part)] = size
        return size

    def _children(self, part: dict[str, Any] | list[Any]) -> Iterator[Any]:
        if isinstance(part, list):
            yield from part
            return
        for name, value in part.items():
            if part is self.root and name in _DEFINITIONS:
                # They count where something refers to them; each must still be within the limits by itself.
                self.size(value)
            else:
                yield value
        if isinstance(reference := part.get("$ref"), str):
            yield self._target(reference)

    def _target(self, reference: str) -> Any:
        start, *names = reference.split("/")
        if start != "#" or "~" in reference or "%" in reference:
            raise ValueError("a $ref must point into its own schema, such as '#/$defs/name'")
        target: Any = self.root
        for name in names:
            if not isinstance(target, dict) or name not in target:
                raise ValueError("a $ref points to nothing in its schema")
            target = target[name]
        if not isinstance(target, dict):
            raise ValueError("a $ref must point to a schema")
        return target


def require_bounded_schema(schema: dict[str, Any]) -> None:
    """Raise `ValueError` with a reason for a schema that an engine could spend too long on.

    Measured with smollm2-135m-instruct on two idle cores: whatever passed compiled in 0.1 to 0.3 seconds. The costliest
    then, the pattern `^(c|cc){0,21}x$` of a large class c, took 3.3 seconds for 40 tokens; between two an abort works.
    """
    # Depth first: what measures the rest descends into the schema.
    if _is_deeper(schema, SCHEMA_DEPTH_MAX):
        raise ValueError(f"a schema may be {SCHEMA_DEPTH_MAX} levels deep at most")
    _require_at_most(len(orjson.dumps(schema)), SCHEMA_BYTES_MAX, "bytes")
    _Measure(schema).size(schema)


def _largest(counts: Iterable[int]) -> int:
    return max(counts, default=0)


def _own(part: dict[str, Any]) -> _Size:
    """Check what a schema says about itself, and return the size of that."""
    for name, count_max in _COUNTS_MAX.items():
        # A property may have this name, and then what it holds is a schema.
        count = part.get(name)
        if isinstance(count, dict | None):
            continue
        if not isinstance(count, int) or not 0 <= count <= count_max:
            raise ValueError(f"{name} must be a whole number from 0 to {count_max}")
    properties, members, pattern = part.get("properties"), part.get("enum"), part.get("pattern")
    return _Size(
        properties=len(properties) if isinstance(properties, dict) else 0,
        members=len(members) if isinstance(members, list) else 0,
        alternatives=1,
        places=pattern_places(pattern) if isinstance(pattern, str) else 0,
    )


def _require_at_most(count: int, count_max: int, what: str) -> None:
    if count > count_max:
        raise ValueError(f"a schema may have {count_max} {what} at most")


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
