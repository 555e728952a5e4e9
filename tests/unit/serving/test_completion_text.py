"""A choice in OpenAI's older shape becomes that of a chat, with one entry for each token, or the answer fails."""

from typing import Any

import pytest

from finpool.serving.completion_text import delta_of_text
from finpool.serving.errors import EngineFailed

LOGPROBS = {
    "tokens": ["A", " bank"],
    "token_logprobs": [-0.5, None],
    "top_logprobs": [{"A": -0.5, "B": -1.5}, None],
    "text_offset": [0, 1],
}


def test_text_and_end_are_those_of_a_delta() -> None:
    assert delta_of_text({"index": 3, "text": "A", "finish_reason": "stop", "stop_reason": 7}) == {
        "index": 3,
        "delta": {"content": "A"},
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert delta_of_text({"index": 0, "text": ""})["delta"] == {}


def test_each_token_has_an_entry_and_an_unknown_probability_is_openais_value() -> None:
    shown = delta_of_text({"index": 0, "text": "A bank", "logprobs": LOGPROBS})
    assert shown["logprobs"]["content"] == [
        {
            "token": "A",
            "logprob": -0.5,
            "top_logprobs": [{"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1.5}],
        },
        {"token": " bank", "logprob": -9999.0, "top_logprobs": []},
    ]


@pytest.mark.parametrize(
    "choice",
    [
        None,
        {"text": "A"},
        {"index": "0", "text": "A"},
        {"index": 0},
        {"index": 0, "text": None},
        {"index": 0, "text": "A", "logprobs": {**LOGPROBS, "tokens": ["A"]}},
        {"index": 0, "text": "A", "logprobs": {**LOGPROBS, "token_logprobs": ["high", None]}},
        {"index": 0, "text": "A", "logprobs": {**LOGPROBS, "top_logprobs": [[], 1]}},
    ],
)
def test_another_shape_fails(choice: Any) -> None:
    with pytest.raises(EngineFailed):
        delta_of_text(choice)
