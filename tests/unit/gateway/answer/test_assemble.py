"""A plain answer equals the stream's answer, wherever its chunks were cut."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finpool.gateway.answer.assemble import Assembler


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=5)), min_size=1, max_size=40))
def test_text_is_joined_per_choice(parts: list[tuple[int, str]]) -> None:
    assembler = Assembler()
    for index, text in parts:
        assembler.add([{"index": index, "delta": {"content": text}, "finish_reason": None}])
    expected = {index: "".join(text for at, text in parts if at == index) for index, _ in parts}
    assert {each["index"]: each["message"]["content"] for each in assembler.choices()} == expected
    assert [each["index"] for each in assembler.choices()] == sorted(expected)


def test_tool_calls_are_joined_by_their_index() -> None:
    assembler = Assembler()
    deltas = [
        {"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "function": {"name": "rate", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "fee", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]
    for delta in deltas:
        assembler.add([{"index": 0, "delta": delta, "finish_reason": None}])
    assembler.add([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    (choice,) = assembler.choices()
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert [(call["id"], call["function"]) for call in choice["message"]["tool_calls"]] == [
        ("c1", {"name": "rate", "arguments": '{"a":1}'}),
        ("c2", {"name": "fee", "arguments": "{}"}),
    ]


def test_log_probabilities_are_kept_in_order() -> None:
    assembler = Assembler()
    for token in ("a", "b"):
        logprobs: dict[str, Any] = {"content": [{"token": token, "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
        assembler.add([{"index": 0, "delta": {"content": token}, "logprobs": logprobs, "finish_reason": None}])
    (choice,) = assembler.choices()
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["a", "b"]
