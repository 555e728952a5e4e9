"""Bounds of JSON schemas: an engine compiles a schema without a way to stop, and a bad one occupies it wholly."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from finpool.gateway.request.pattern_bounds import PATTERN_REPEATS_MAX, pattern_places
from finpool.gateway.request.schema_forms import require_well_formed
from finpool.gateway.request.schema_recursion import require_finite

SCHEMA_BYTES_MAX = 16_384
"""Uncounted parts (names, descriptions, numbers) cost in proportion to their length."""

SCHEMA_DEPTH_MAX = 16
"""Nested objects and lists as written."""

SCHEMA_EXPANDED_DEPTH_MAX = 32
"""The same with every `$ref` expanded; types that share a definition need more."""

SCHEMA_PROPERTIES_MAX = 100
"""Properties with references expanded. Optional ones cost their square: 1,000 take half a minute."""

SCHEMA_NODES_MAX = 2_000
"""Objects and lists with references expanded; 30 definitions of two references each would make 10^9."""

SCHEMA_ENUM_MAX = 256
"""Members of all enumerations. All are matched at once: 1,000 take seconds."""

SCHEMA_ALTERNATIVES_MAX = 16
"""Alternatives (`anyOf`, `oneOf`, `allOf`) at the same place, references expanded.

Their costs add up: 100 ranges of integers took two and a half seconds.
"""

SCHEMA_ITEMS_MAX = 256
SCHEMA_LENGTH_MAX = 1_024
"""Each unit of a count becomes a rule, and above 2,000 the engine refuses."""

_DEFINITIONS = ("$defs", "definitions")
COUNTS_MAX = {
    "minItems": SCHEMA_ITEMS_MAX,
    "maxItems": SCHEMA_ITEMS_MAX,
    "minLength": SCHEMA_LENGTH_MAX,
    "maxLength": SCHEMA_LENGTH_MAX,
}


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of a part of a schema with its references expanded."""

    depth: int = 0
    nodes: int = 0
    properties: int = 0
    members: int = 0
    alternatives: int = 0
    places: int = 0


@dataclass(slots=True)
class _Measure:
    """The measure of one schema; each part is measured once for all its references.

    A reference back counts as one node: the engine's grammar is recursive as well.
    """

    root: dict[str, Any]
    is_recursive: bool = False
    known: dict[int, _Size | None] = field(default_factory=dict)

    def size(self, part: Any, levels: int = 0) -> _Size:
        """Return the size of `part`, so many levels within the schema; raise `ValueError` if it is too large."""
        if not isinstance(part, dict | list):
            return _Size()
        # A chain of a thousand references would be deeper than the interpreter's stack.
        _require_at_most(levels, SCHEMA_EXPANDED_DEPTH_MAX, "levels, references expanded")
        if id(part) in self.known:
            known = self.known[id(part)]
            if known is None:
                self.is_recursive = True
                return _Size(nodes=1)
            return known
        self.known[id(part)] = None
        sizes = [self.size(child, levels + 1) for child in self._children(part)]
        own = _own(part) if isinstance(part, dict) else _Size()
        # The parts of a list may hold at the same place; those of an object follow one another.
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
                # Definitions count where a reference uses them; each must also fit the limits by itself.
                self.size(value)
            else:
                yield value
        if isinstance(reference := part.get("$ref"), str):
            yield self.target(reference)

    def target(self, reference: str) -> Any:
        """Return the schema that a reference points to; raise `ValueError` if there is none."""
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
    """Raise `ValueError` with the reason for a schema that could occupy an engine for too long.

    Measured with llguidance 1.0.1 and the vocabulary of smollm2-135m-instruct: accepted schemas compile in at most 0.03
    seconds. The slowest patterns cost 0.04 seconds a token, where the library gives up; an abort works between two.
    """
    # Depth first: the other measures recurse into the schema.
    if is_deeper(schema, SCHEMA_DEPTH_MAX):
        raise ValueError(f"a schema may be {SCHEMA_DEPTH_MAX} levels deep at most")
    _require_at_most(len(orjson.dumps(schema)), SCHEMA_BYTES_MAX, "bytes")
    require_well_formed(schema)
    measure = _Measure(schema)
    measure.size(schema)
    if measure.is_recursive:
        require_finite(schema, measure.target)


def _largest(counts: Iterable[int]) -> int:
    return max(counts, default=0)


def _own(part: dict[str, Any]) -> _Size:
    """Check a schema's own counts, and return their size."""
    for name, count_max in COUNTS_MAX.items():
        # A property may have this name; then its value is a schema.
        count = part.get(name)
        if isinstance(count, dict | None):
            continue
        if not isinstance(count, int) or not 0 <= count <= count_max:
            raise ValueError(f"{name} must be a whole number from 0 to {count_max}")
    properties, members, pattern = part.get("properties"), part.get("enum"), part.get("pattern")
    if isinstance(named := part.get("patternProperties"), dict):
        for name in named:
            pattern_places(name)
    return _Size(
        properties=len(properties) if isinstance(properties, dict) else 0,
        members=len(members) if isinstance(members, list) else 0,
        alternatives=1,
        places=pattern_places(pattern) if isinstance(pattern, str) else 0,
    )


def _require_at_most(count: int, count_max: int, what: str) -> None:
    if count > count_max:
        raise ValueError(f"a schema may have {count_max} {what} at most")


def is_deeper(value: Any, levels: int) -> bool:
    """Tell whether a value has more than so many nested objects and lists."""
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(child, levels - 1) for child in children)
