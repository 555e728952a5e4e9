"""Stop strings on vLLM: a choice is charged for the tokens that it holds, and one for its end."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.serving.vllm.answer import VllmAnswer

TOKENS = ["A", " bank", " le", "nds", ".", " It", " ke", "eps", "."]


def entry(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}


def event(tokens: list[str], computed: int, finish: str | None = None, index: int = 0) -> str:
    """Return vLLM's event of these tokens; at the end the last one is the model's end-of-sequence token."""
    ends = [entry("</s>")] if finish == "stop" else []
    choice = {
        "index": index,
        "delta": {"content": "".join(tokens)},
        "finish_reason": finish,
        "logprobs": {"content": [*map(entry, tokens), *ends]},
    }
    usage = {"prompt_tokens": 9, "completion_tokens": computed, "total_tokens": 9 + computed}
    return f"data: {orjson.dumps({'id': 'c', 'created': 1, 'choices': [choice], 'usage': usage}).decode()}"


def read(answer: VllmAnswer, events: list[str]) -> tuple[str, str | None, list[str]]:
    """Return text, finish reason and the tokens of the entries."""
    text, finish, tokens = "", None, list[str]()
    for each in events:
        for choice in (answer.accept(each) or {})["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice["finish_reason"] or finish
            tokens += [one["token"] for one in (choice["logprobs"] or {}).get("content", [])]
    return text, finish, tokens


@given(
    st.lists(st.integers(1, 4), min_size=9, max_size=9), st.sampled_from(["lends", ".", "s. I", "zzz", " It keeps."])
)
def test_however_tokens_arrive_together_the_same_ones_are_charged(sizes: list[int], stop: str) -> None:
    events, position = [], 0
    for size in sizes:
        part = TOKENS[position : position + size]
        position += len(part)
        events.append(event(part, position)) if part else None
    events.append(event([], len(TOKENS) + 1, "stop"))
    answer = VllmAnswer("base", body={"stop": stop, "logprobs": True})
    text, finish, tokens = read(answer, events)
    whole = "".join(TOKENS)
    assert text == whole.partition(stop)[0]
    assert finish == "stop"
    assert len("".join(tokens)) >= len(text)
    assert answer.usage.output_tokens == len(tokens) + 1
    assert answer.stopped_early is (stop in whole)


def test_a_client_that_asked_for_no_probabilities_gets_none() -> None:
    answer = VllmAnswer("base", body={"stop": ["."]})
    assert read(answer, [event(["A"], 1), event([" b"], 2), event([], 3, "stop")]) == ("A b", "stop", [])
    assert answer.usage.output_tokens == 3
    assert not answer.stopped_early


def test_an_answer_that_its_length_cuts_is_charged_for_its_text() -> None:
    answer = VllmAnswer("base", body={"stop": ["bank!"]})
    assert read(answer, [event(["A"], 1), event([" bank"], 2, "length")])[:2] == ("A bank", "length")
    assert answer.usage.output_tokens == 2


def test_each_choice_stops_by_itself() -> None:
    answer = VllmAnswer("base", body={"stop": "x", "n": 2})
    read(answer, [event(["a"], 1), event(["b"], 1, index=1), event(["x"], 2), event(["y"], 3)])
    assert (answer.stopped_early, answer.usage.output_tokens) == (False, 3)
    read(answer, [event(["x"], 2, index=1)])
    assert (answer.stopped_early, answer.usage.output_tokens) == (True, 4)


@pytest.mark.parametrize("merged", [True, False])
def test_the_end_of_a_choice_is_no_entry_even_if_it_comes_with_text(merged: bool) -> None:
    events = [event(["A", "b"], 3, "stop")] if merged else [event(["A", "b"], 2), event([], 3, "stop")]
    assert read(VllmAnswer("base"), events) == ("Ab", "stop", ["A", "b"])
