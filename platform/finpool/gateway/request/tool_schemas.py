"""The parameters of a tool as engines get them: any JSON schema becomes one that an engine compiles quickly.

Only `strict` promises that a call follows its schema. Without it a schema tells the model what to write. The parts that
no engine could compile quickly go into descriptions, which the model reads as well.
"""

import copy
from typing import Any

import orjson

from finpool.gateway.request.pattern_bounds import pattern_places
from finpool.gateway.request.schema_bounds import COUNTS_MAX, is_deeper, require_bounded_schema

TOOL_SCHEMA_BYTES_MAX = 65_536
TOOL_SCHEMA_DEPTH_MAX = 64


def require_any_schema(schema: dict[str, Any]) -> None:
    """Raise `ValueError` for a schema that is too large or too deep to be told a model."""
    if is_deeper(schema, TOOL_SCHEMA_DEPTH_MAX):
        raise ValueError(f"a schema may be {TOOL_SCHEMA_DEPTH_MAX} levels deep at most")
    if len(orjson.dumps(schema)) > TOOL_SCHEMA_BYTES_MAX:
        raise ValueError(f"a schema may have {TOOL_SCHEMA_BYTES_MAX} bytes at most")


def function_for_engines(function: dict[str, Any]) -> dict[str, Any]:
    """Return a function whose parameters are bounded; a schema that cannot be made so is told in its description."""
    schema = function.get("parameters")
    if schema is None or _is_bounded(schema):
        return function
    loose = copy.deepcopy(schema)
    _Loosening(loose).visit(loose)
    if _is_bounded(loose):
        return {**function, "parameters": loose}
    told = f"Parameters: {orjson.dumps(schema).decode()}"
    return {**function, "parameters": {"type": "object"}, "description": _joined(function.get("description"), told)}


class _Loosening:
    """The changes to one schema, in place: an engine gets no pattern, count or reference that it cannot take."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._open: set[int] = set()
        self._done: set[int] = set()

    def visit(self, part: Any) -> None:
        """Loosen a part and all within it; a reference to a part that is being visited would never end."""
        if isinstance(part, list):
            for each in part:
                self.visit(each)
        if not isinstance(part, dict) or id(part) in self._done:
            return
        self._open.add(id(part))
        for name in [name for name, value in part.items() if not self._keeps(name, value)]:
            part["description"] = _joined(part.get("description"), f"{name}: {part.pop(name)}")
        for each in list(part.values()):
            self.visit(each)
        self._open.discard(id(part))
        self._done.add(id(part))

    def _keeps(self, name: str, value: Any) -> bool:
        if name == "$ref" and isinstance(value, str):
            return self._ends(value)
        if name in COUNTS_MAX and not isinstance(value, dict):
            return isinstance(value, int) and 0 <= value <= COUNTS_MAX[name]
        return name != "pattern" or not isinstance(value, str) or _is_supported(value)

    def _ends(self, reference: str) -> bool:
        """Loosen the target of a reference; tell whether there is one that does not lead back.

        Behind a longer chain of references than a schema may have levels, it counts as none.
        """
        start, *names = reference.split("/")
        target: Any = self._root if start == "#" else None
        for name in names:
            target = target.get(name) if isinstance(target, dict) else None
        if not isinstance(target, dict) or id(target) in self._open or len(self._open) >= TOOL_SCHEMA_DEPTH_MAX:
            return False
        self.visit(target)
        return True


def _is_bounded(schema: dict[str, Any]) -> bool:
    try:
        require_bounded_schema(schema)
    except ValueError:
        return False
    return True


def _is_supported(pattern: str) -> bool:
    try:
        pattern_places(pattern)
    except ValueError:
        return False
    return True


def _joined(description: Any, told: str) -> str:
    return f"{description} {told}" if isinstance(description, str) and description else told
