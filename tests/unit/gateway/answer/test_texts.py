"""The answer of a text completion: the echoed prompt, and one entry for each token with its place in the text."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.model.schemas import TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.answer.render import text_renderer
from finpool.gateway.answer.texts import TextChoices, TextCompletion, TextRenderer
from finpool.gateway.request.completion import CompletionRequest
from finpool.serving.errors import EngineFailed

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
USAGE = TokenUsage(3, 0, 4)


def asked(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "m", "prompt": "A bank", **fields})


def part(index: int = 0, text: str = "", finish: str | None = None, tokens: list[bytes] | None = None) -> Any:
    """Return an engine's part, with an entry for each token."""
    entries = [
        {"token": each.decode("utf-8", "replace"), "logprob": -1.0, "bytes": list(each), "top_logprobs": []}
        for each in tokens or []
    ]
    shown = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return {**shown, "logprobs": {"content": entries}} if tokens else shown


def whole(request: CompletionRequest, *parts: Any) -> list[dict[str, Any]]:
    completion = TextCompletion(text_renderer("req_1", MODEL, 1, include_usage=False), request)
    for each in parts:
        completion.add([each])
    choices: list[dict[str, Any]] = orjson.loads(completion.body(USAGE))["choices"]
    return choices


def streamed(request: CompletionRequest, *parts: Any) -> list[dict[str, Any]]:
    renderer = TextRenderer(text_renderer("req_1", MODEL, 1, include_usage=False), request)
    events = [renderer.chunk([each]) for each in parts]
    return [choice for event in events if event for choice in orjson.loads(event[6:])["choices"]]


def test_the_prompt_of_each_choice_goes_before_its_text() -> None:
    request = asked(prompt=["A bank", "一"], n=2, echo=True)
    parts = [part(index, f" {index}", "stop") for index in (3, 0, 2, 1)]
    texts = [choice["text"] for choice in whole(request, *parts)]
    assert texts == ["A bank 0", "A bank 1", "一 2", "一 3"]
    assert [choice["text"] for choice in streamed(request, *parts)] == [texts[3], texts[0], texts[2], texts[1]]


def test_a_prompt_is_echoed_before_an_empty_answer_too() -> None:
    (choice,) = whole(asked(echo=True), part(), part(finish="stop"))
    assert (choice["text"], choice["finish_reason"]) == ("A bank", "stop")


def test_a_part_without_text_and_end_is_no_event() -> None:
    assert streamed(asked(), part(), part(text="x"), part()) == streamed(asked(), part(text="x"))


@pytest.mark.parametrize("index", [1, -1, "0", None])
def test_an_answer_to_a_prompt_that_was_not_sent_fails(index: Any) -> None:
    with pytest.raises(EngineFailed):
        TextChoices(asked()).shown([part(index, "x")])


def test_a_missing_choice_fails_the_whole_answer() -> None:
    with pytest.raises(EngineFailed):
        whole(asked(n=2), part(0, "x", "stop"))


TOKENS = st.lists(st.sampled_from([b"a", b" bank", "é".encode(), b"\xe4", b"\xb8\x80", b".\n"]), max_size=12)


def _pieces(tokens: list[bytes]) -> list[tuple[str, list[bytes]]]:
    """Return the tokens as an engine sends them: each piece has whole characters."""
    pieces, held = [], []
    for token in tokens:
        held.append(token)
        try:
            pieces.append((b"".join(held).decode(), held))
        except UnicodeDecodeError:
            continue
        held = []
    return pieces


@given(TOKENS)
def test_each_token_has_one_entry_and_its_place_in_the_text(tokens: list[bytes]) -> None:
    pieces = _pieces(tokens)
    parts = [part(0, text, None, held) for text, held in pieces]
    request = asked(logprobs=0)
    (choice,) = whole(request, *parts, part(finish="stop"))
    sent = [token for _, held in pieces for token in held]
    if not sent:
        assert choice["logprobs"] is None
        return
    logprobs = choice["logprobs"]
    assert {name: len(each) for name, each in logprobs.items()} == dict.fromkeys(logprobs, len(sent))
    for token, offset in zip(sent, logprobs["text_offset"], strict=True):
        if token.isascii():
            assert choice["text"][offset:].startswith(token.decode())
    assert logprobs["text_offset"] == sorted(logprobs["text_offset"])
    chunks = streamed(request, *parts, part(finish="stop"))
    assert [each for chunk in chunks if chunk["logprobs"] for each in chunk["logprobs"]["text_offset"]] == logprobs[
        "text_offset"
    ]


def test_the_token_itself_stands_among_the_most_probable_ones() -> None:
    given = part(0, "x", None, [b"x"])
    given["logprobs"]["content"][0]["top_logprobs"] = [{"token": "y", "logprob": -0.5}]
    (choice,) = whole(asked(logprobs=1), given, part(finish="stop"))
    assert choice["logprobs"]["top_logprobs"] == [{"y": -0.5, "x": -1.0}]


def test_a_token_that_a_stop_string_cut_begins_within_the_text() -> None:
    (choice,) = whole(asked(logprobs=0), part(0, "ab", None, [b"a", b"bcd"]), part(finish="stop"))
    assert choice["logprobs"]["text_offset"] == [0, 1]
