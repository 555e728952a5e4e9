"""An object of a body that repeats a field is refused, for readers differ in the value that they keep."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.errors import InvalidJson
from finpool.gateway.request.intake import parse_chat_request, parse_request
from finpool.gateway.request.vectors import EmbeddingRequest
from finpool.kernel.errors import InvalidRequest

HELLO = b'"messages": [{"role": "user", "content": "Hello"}]'
REPEATED = {
    "an option": (b'{"model": "m", "n": 1, "n": 2, ' + HELLO + b"}", "n"),
    "the same value": (b'{"model": "m", "model": "m", ' + HELLO + b"}", "model"),
    "in a message": (
        b'{"model": "m", "messages": [{"role": "user", "content": "a", "content": "b"}]}',
        "messages[0].content",
    ),
    "hidden behind an escaped colon": (b'{"model": "m", "n": 1, "n": 2, "user": "\\u003a", ' + HELLO + b"}", "n"),
    "hidden behind another one": (b'{"model": "m", "n": 1, "n": 2, "user": "\\u003A", ' + HELLO + b"}", "n"),
    "written as an escape": (b'{"model": "m", "\\u006e": 1, "n": 2, ' + HELLO + b"}", "n"),
    "in an option that is forgotten": (
        b'{"model": "m", "metadata": {"a": "1", "a": "2"}, ' + HELLO + b"}",
        "metadata.a",
    ),
    "in a list of lists": (b'{"model": "m", "tools": [1, [{}, {"x": [], "x": 0}]], ' + HELLO + b"}", "tools[1][1].x"),
    "in an object that is itself given twice": (b'{"model": "m", "a": {"b": 1, "b": 2}, "a": 3, ' + HELLO + b"}", "a"),
}
TEXTS = st.text(st.sampled_from('a:"\\\n{}é銀'), max_size=12)


@pytest.mark.parametrize(("body", "name"), REPEATED.values(), ids=REPEATED.keys())
def test_a_repeated_field_is_refused_by_name(body: bytes, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_chat_request(body)
    assert (refused.value.status, refused.value.param) == (400, name)
    assert "twice" in refused.value.message


def test_the_other_routes_do_the_same() -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        parse_request(b'{"model": "m", "input": "a", "input": "b"}', EmbeddingRequest)


@given(TEXTS, TEXTS.filter(lambda name: name != "n"), st.booleans(), st.booleans())
def test_colons_and_escapes_in_texts_hide_no_repeated_field(
    text: str, name: str, ascii_only: bool, twice: bool
) -> None:
    metadata = json.dumps({name: text}, ensure_ascii=ascii_only)[:-1]
    repeated = json.dumps({name: ""}, ensure_ascii=not ascii_only)[1:]
    body = f'{{"model": "m", "metadata": {metadata}{", " + repeated if twice else "}"}, {HELLO.decode()}}}'.encode()
    if not twice:
        parse_chat_request(body)
        return
    with pytest.raises(InvalidRequest, match="twice"):
        parse_chat_request(body)


@pytest.mark.parametrize("value", [orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)])
def test_a_body_that_is_nested_too_deeply_is_refused(value: Any) -> None:
    body = b'{"model": "m", "user": ' + json.dumps(value).encode() + b", " + HELLO + b"}"
    with pytest.raises(InvalidJson, match="too deeply"):
        parse_chat_request(body)
