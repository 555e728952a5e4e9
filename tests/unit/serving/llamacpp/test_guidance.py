"""The library of grammars, asked about grammars and texts."""

import orjson
import pytest

from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.grammar_check import GrammarCheck
from finpool.serving.llamacpp.guidance import HEAD, follows, unreadable

OBJECT = (
    HEAD
    + 'start: answer\nanswer: %json {"type": "object", "properties": {"a": {"enum": ["é", "b"]}}, "required": ["a"]}'
)


@pytest.mark.parametrize(
    ("text", "begins", "is_whole"),
    [
        ('{"a": "é"}', True, True),
        ('{"a": "', True, False),
        ("", True, False),
        ('{"a": "c"}', False, False),
        ('{"a": "b"} more', False, False),
    ],
)
def test_a_text_follows_a_grammar_as_a_whole_or_as_a_beginning(text: str, begins: bool, is_whole: bool) -> None:
    assert follows(OBJECT, text, whole=False) is begins
    assert follows(OBJECT, text, whole=True) is is_whole


def test_a_grammar_that_cannot_be_read_has_its_reason() -> None:
    assert unreadable(OBJECT) is None
    assert "minimum" in str(unreadable(HEAD + 'start: %json {"type": "integer", "minimum": "a"}'))


def chunk(text: str, finish: str | None = None, index: int = 0) -> str:
    return orjson.dumps({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}).decode()


@pytest.mark.parametrize(
    ("texts", "finish", "holds"),
    [
        (['{"a": ', '"b"}'], "stop", True),
        (['{"a": ', "1}"], "stop", False),
        (['{"a": '], "length", True),
        (['{"a": "', "\ufffd"], "length", True),
        (['{"a": ', "tea"], "length", False),
    ],
)
def test_a_choice_that_leaves_its_grammar_does_not_end_as_an_answer(texts: list[str], finish: str, holds: bool) -> None:
    check = GrammarCheck(OBJECT)
    assert check.fault(chunk("x", index=1)) is None
    assert [check.fault(chunk(each)) for each in texts] == [None] * len(texts)
    assert (check.fault(chunk("", finish)) is None) is holds
    assert isinstance(check.fault(chunk("", "stop", index=1)), EngineRefused)
