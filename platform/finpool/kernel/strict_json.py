"""Strict JSON: an object must not repeat a field, because readers differ in the value that they keep."""

import json
from collections.abc import Callable
from typing import Any

from finpool.kernel.body_bounds import require_few_values
from finpool.kernel.errors import InvalidRequest

Path = tuple[str | int, ...]
"""The way to a value of a document: names of fields, and indexes of lists."""

_SHOWN_CHARACTERS_MAX = 256

VALUES_MAX = 2_048
"""Values of a body that is parsed on the event loop."""


def dotted(path: Path) -> str:
    """Return `("lines", 0, "reason")` as `lines.0.reason`, as the doors write it."""
    return ".".join(map(str, path))


def bracketed(path: Path) -> str:
    """Return `("messages", 0, "content")` as `messages[0].content`, as OpenAI writes it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parse_strictly(body: bytes, written: Callable[[Path], str] = dotted) -> Any:
    """Parse a body; raise ValueError for anything but JSON, and for a text with half of a surrogate pair.

    Raises `InvalidRequest` if an object repeats a field; its `param` is the field's path, as `written` writes it.
    """
    repeated: list[tuple[dict[str, Any], str]] = []

    def fields_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, value in pairs:
            if name in fields:
                repeated.append((fields, name))
            fields[name] = value
        return fields

    document = json.loads(body, object_pairs_hook=fields_of)
    if b"\\u" in body:
        json.dumps(document, ensure_ascii=False).encode()  # Half of a surrogate pair is no text, so this raises.
    if repeated:
        # An object is read after the objects within it, so no other one with a repeated field holds the last.
        fields, name = repeated[-1]
        path = written((*_path_to(fields, document), name))
        raise InvalidRequest("The body names a field twice.", param=path[:_SHOWN_CHARACTERS_MAX])
    return document


def parse_bounded(body: bytes) -> Any:
    """Parse a body like `parse_strictly`; raise `InvalidRequest` for one with more than `VALUES_MAX` values."""
    require_few_values(body, VALUES_MAX)
    return parse_strictly(body)


def _path_to(wanted: dict[str, Any], document: Any) -> Path:
    """Return the path to an object of the document; it is compared by identity."""
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if value is wanted:
            return path
        if isinstance(value, dict):
            waiting += [((*path, name), each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), each) for index, each in enumerate(value)]
    raise ValueError("the object is not within the document")
