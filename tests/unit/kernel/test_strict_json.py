"""A field that a body repeats is named by its path, wherever it stands."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.errors import InvalidRequest
from finpool.kernel.strict_json import Path, bracketed, dotted, parse_strictly

NAMES = st.text("abc", min_size=1, max_size=2)
VALUES = st.recursive(
    st.none() | st.integers() | st.text("xy:", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def objects(value: Any, path: Path = ()) -> list[Path]:
    """Return the path of each object with a field."""
    pairs: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    found = [path] if isinstance(value, dict) and value else []
    return found + [each for part, inner in pairs for each in objects(inner, (*path, part))]


def written_twice(value: Any, path: Path) -> str:
    """Return the JSON of a value whose object at the path repeats its first field."""
    if not path:
        name, first = next(iter(value.items()))
        return f"{json.dumps({name: first})[:-1]}, {json.dumps(value)[1:]}"
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return f"[{', '.join(part(each, index == step, rest) for index, each in enumerate(value))}]"
    return f"{{{', '.join(f'{json.dumps(name)}: {part(each, name == step, rest)}' for name, each in value.items())}}}"


def part(value: Any, chosen: bool, rest: Path) -> str:
    return written_twice(value, rest) if chosen else json.dumps(value)


@given(st.data(), st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_a_repeated_field_anywhere_in_a_document_is_named_by_its_path(data: st.DataObject, document: Any) -> None:
    assert parse_strictly(json.dumps(document).encode()) == document
    path = data.draw(st.sampled_from(objects(document)))
    holder = document
    for part in path:
        holder = holder[part]
    body = written_twice(document, path).encode()
    for written in (dotted, bracketed):
        with pytest.raises(InvalidRequest, match="twice") as refused:
            parse_strictly(body, written)
        assert refused.value.param == written((*path, next(iter(holder))))


def test_a_path_is_written_as_its_reader_expects() -> None:
    path = ("messages", 1, "tool_calls", 0, "id")
    assert bracketed(path) == "messages[1].tool_calls[0].id"
    assert dotted(path) == "messages.1.tool_calls.0.id"


def test_a_long_path_is_cut() -> None:
    name = "n" * 10_000
    with pytest.raises(InvalidRequest) as refused:
        parse_strictly(f'{{"{name}": {{"a": 1, "a": 2}}}}'.encode())
    assert refused.value.param == "n" * 256
