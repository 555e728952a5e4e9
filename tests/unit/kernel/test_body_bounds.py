"""A body with too many values is refused before it is parsed, and texts may hold anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.kernel.body_bounds import require_few_fields, require_few_values
from finpool.kernel.errors import InvalidRequest

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a,[{"\\é'), max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text('a,[{"\\', max_size=4), inner, max_size=6),
    max_leaves=30,
)


def values_of(document: Any) -> int:
    if isinstance(document, dict):
        return 1 + sum(map(values_of, document.values()))
    return 1 + sum(map(values_of, document)) if isinstance(document, list) else 1


def is_refused(body: bytes, values_max: int) -> bool:
    try:
        require_few_values(body, values_max)
    except InvalidRequest:
        return True
    return False


@given(DOCUMENTS, st.booleans())
def test_a_body_is_refused_for_its_values_and_never_for_its_texts(document: Any, ascii_only: bool) -> None:
    """An empty list counts as two, for its bracket counts as a value within."""
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    count = values_of(document)
    assert not is_refused(body, 2 * count + 1)
    assert is_refused(body, max(1, count // 2)) or count <= 2


@pytest.mark.parametrize(
    "text", ["," * 5_000, "[{" * 5_000, '\\",' * 5_000, "\\\\,"], ids=["commas", "brackets", "quotes", "ends"]
)
def test_a_text_of_separators_is_one_value(text: str) -> None:
    assert not is_refused(json.dumps({"a": text}).encode(), 10)


@pytest.mark.parametrize("element", ["0", "[]", "{}", '"a"', '","', '{"a":0}', '"\\""'])
def test_every_kind_of_value_counts(element: str) -> None:
    body = ("[" + ",".join([element] * 200) + "]").encode()
    assert is_refused(body, 100)
    assert not is_refused(body, 500)


def test_an_object_of_too_many_fields_is_refused_at_any_depth() -> None:
    fields = dict.fromkeys(map(str, range(10)), 0)
    require_few_fields([{"a": fields}], 10)
    with pytest.raises(InvalidRequest, match="10 fields at most"):
        require_few_fields([{"a": {**fields, "one": 1}}], 10)
