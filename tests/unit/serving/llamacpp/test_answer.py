"""The running usage of an answer, out of what llama.cpp really sends."""

from typing import Any

import pytest

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.llamacpp.answer import AnswerForm, LlamaCppAnswer
from finpool.serving.llamacpp.vocabulary import Vocabulary

REFUSAL = EngineRefused("The model's engine cannot use this response_format.", param="response_format")
CONTROL, BYTE = 3, 6
# The bytes of an emoji, as SentencePiece spells them.
EMOJI = ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
VOCABULARY = Vocabulary("llama", ["</s>", *EMOJI, "▁a", "b"], [CONTROL, BYTE, BYTE, BYTE, BYTE, 1, 1])


def answer_of(**body: Any) -> LlamaCppAnswer:
    return LlamaCppAnswer("small", "chatcmpl_1", REFUSAL, VOCABULARY, AnswerForm.of(body))


def choices_of(answer: LlamaCppAnswer, *chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of the caller's chunks for the engine's chunks."""
    return [each["choices"][0] for chunk in chunks for each in answer.accept(chunk)]


def text_of(choices: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(each["delta"].get("content", "") for each in choices if each["index"] == index)


def progress(index: int, processed: int) -> dict[str, Any]:
    return {
        **choice(index, {"role": "assistant", "content": None}, predicted=0),
        "prompt_progress": {"total": 32, "cache": 0, "processed": processed, "time_ms": 0},
    }


def choice(
    index: int, delta: dict[str, Any], predicted: int | None = None, finish: str | None = None
) -> dict[str, Any]:
    chunk: dict[str, Any] = {
        "id": "engine's own",
        "created": predicted,
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }
    if predicted is not None:
        chunk["timings"] = {"cache_n": 0, "prompt_n": 32, "predicted_n": predicted}
    return chunk


def exact(predicted: int) -> dict[str, Any]:
    return {
        "choices": [],
        "usage": {
            "prompt_tokens": 32,
            "completion_tokens": predicted,
            "total_tokens": 32 + predicted,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_the_role_comes_first_and_once_with_the_prompt_counted() -> None:
    answer = answer_of()
    (first,) = answer.accept(progress(0, 0))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["usage"]["prompt_tokens"] == 32
    assert first["usage"]["completion_tokens"] == 0
    assert answer.accept(progress(0, 32)) == []
    assert answer.accept(choice(0, {"role": "assistant", "content": None})) == []


def test_id_time_and_model_are_the_same_in_every_chunk() -> None:
    answer = answer_of()
    chunks = [each for number in range(1, 4) for each in answer.accept(choice(0, {"content": "a"}, predicted=number))]
    chunks.append(answer.conclusion())
    heads = {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}
    assert len(chunks) == 5
    assert len(heads) == 1
    assert next(iter(heads))[0] == "chatcmpl_1"


def test_choices_add_up_and_share_their_prompt() -> None:
    answer = answer_of(n=2)
    for chunk in (
        progress(0, 0),
        choice(1, {"content": "a"}, predicted=1),
        choice(0, {"content": "a"}, predicted=1),
        choice(1, {"content": "b"}, predicted=2),
        choice(1, {}, finish="stop"),
        exact(3),
        choice(0, {"content": "b"}, predicted=2),
    ):
        answer.accept(chunk)
    assert answer.usage == TokenUsage(input_tokens=32, cached_input_tokens=0, output_tokens=5)
    answer.accept(choice(0, {}, finish="length"))
    answer.accept(exact(2))
    assert answer.conclusion()["choices"] == []
    assert answer.conclusion()["usage"]["completion_tokens"] == 5


def test_a_character_that_the_length_limit_cuts_in_two_is_not_charged() -> None:
    answer = answer_of()
    choices_of(answer, choice(0, {"content": "a"}, predicted=1), choice(0, {}, finish="length"), exact(3))
    assert answer.usage.output_tokens == 1


def test_a_stop_string_ends_a_choice_and_counts_as_one_token() -> None:
    answer = answer_of(stop=["b c"])
    seen = choices_of(answer, choice(0, {"content": "a b"}, predicted=1))
    assert text_of(seen) == "", "the held text may become the stop string"
    seen += choices_of(answer, choice(0, {"content": " "}, predicted=2), choice(0, {"content": "cd"}, predicted=3))
    assert text_of(seen) == "a "
    assert (seen[-1]["finish_reason"], answer.usage.output_tokens, answer.stopped_early) == ("stop", 2, True)
    assert choices_of(answer, choice(0, {"content": "e"}, predicted=4), choice(0, {}, finish="length"), exact(5)) == []
    assert answer.usage.output_tokens == 2


def test_text_that_did_not_become_a_stop_string_comes_token_by_token_with_its_counts() -> None:
    answer = answer_of(stop="xyz")
    chunks = [
        each for number, text in enumerate("xyxz", 1) for each in answer.accept(choice(0, {"content": text}, number))
    ]
    counted = [(chunk["choices"][0]["delta"]["content"], chunk["usage"]["completion_tokens"]) for chunk in chunks]
    assert counted == [("", 0), ("x", 1), ("y", 2), ("x", 3), ("z", 4)]


def test_one_choice_that_a_stop_string_ends_leaves_the_others_running() -> None:
    answer = answer_of(n=2, stop=["."])
    seen = choices_of(
        answer,
        choice(0, {"content": "a"}, predicted=1),
        choice(0, {"content": "."}, predicted=2),
        choice(1, {"content": "b"}, predicted=1),
        choice(0, {"content": "unseen"}, predicted=3),
    )
    assert (text_of(seen, 0), text_of(seen, 1)) == ("a", "b")
    assert (answer.usage.output_tokens, answer.stopped_early) == (3, False)


TOOLS = {"tools": [{"type": "function", "function": {"name": "look_up"}}]}
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"a":"}{\\"]","b":[{}]}}\n</tool_call>'


def calls_of(choices: list[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    """Return the name and the arguments of each call, put together."""
    calls: dict[int, tuple[str, str]] = {}
    for part in [part for each in choices for part in each["delta"].get("tool_calls", [])]:
        assert ("id" in part) == (part["index"] not in calls)
        name, arguments = calls.get(part["index"], ("", ""))
        function = part["function"]
        calls[part["index"]] = (name + function.get("name", ""), arguments + function["arguments"])
    return calls


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_arrive_as_deltas_however_their_text_is_cut_into_tokens(size: int) -> None:
    answer = answer_of(**TOOLS)
    text = f"{CALL}\n{CALL}"
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    chunks = [choice(0, {"content": part}, predicted=number) for number, part in enumerate(parts, 1)]
    seen = choices_of(answer, *chunks, choice(0, {}, predicted=len(parts), finish="stop"), exact(len(parts) + 1))
    assert calls_of(seen) == dict.fromkeys((0, 1), ("look_up", '{"a":"}{\\"]","b":[{}]}'))
    assert not text_of([each for each in seen if each["delta"].get("content")])
    assert seen[-1]["finish_reason"] == "tool_calls"
    assert answer.usage.output_tokens == len(parts) + 1


@pytest.mark.parametrize("text", ["<", "<tool", "<b>Hello</b>", "Hello <tool_call>", ""])
def test_text_that_does_not_begin_with_a_call_is_the_answer(text: str) -> None:
    answer = answer_of(**TOOLS)
    chunks = [choice(0, {"content": each}, predicted=number) for number, each in enumerate(text, 1)]
    seen = choices_of(answer, *chunks, choice(0, {}, predicted=len(text), finish="stop"))
    assert "".join(each["delta"].get("content") or "" for each in seen) == text
    assert (calls_of(seen), seen[-1]["finish_reason"]) == ({}, "stop")


def test_a_stop_string_ends_text_and_never_a_call() -> None:
    answer = answer_of(**TOOLS, stop=["{", "\n"])
    chunks = [choice(0, {"content": each}, predicted=number) for number, each in enumerate(CALL, 1)]
    seen = choices_of(answer, *chunks, choice(0, {}, predicted=len(CALL), finish="stop"), exact(len(CALL) + 1))
    assert calls_of(seen) == {0: ("look_up", '{"a":"}{\\"]","b":[{}]}')}
    answer = answer_of(**TOOLS, stop=["lo w"])
    chunks = [choice(0, {"content": each}, predicted=number) for number, each in enumerate("Hello world", 1)]
    seen = choices_of(answer, *chunks)
    assert "".join(each["delta"].get("content") or "" for each in seen) == "Hel"
    assert seen[-1]["finish_reason"] == "stop"
    assert answer.usage.output_tokens == 4, "three tokens of text, and the first one of the stop string"


def test_text_beside_tools_has_an_entry_for_each_of_its_tokens() -> None:
    answer = answer_of(**TOOLS, logprobs=True, top_logprobs=1)
    chunks = [choice(0, {"content": each}, predicted=number) for number, each in enumerate((" a", "b", " a"), 1)]
    for chunk, token in zip(chunks, (5, 6, 5), strict=True):
        chunk["choices"][0]["logprobs"] = logprobs(token, chunk["choices"][0]["delta"]["content"])
    seen = choices_of(answer, *chunks, choice(0, {}, predicted=3, finish="stop"), exact(4))
    found = [entry for each in seen for entry in (each.get("logprobs") or {}).get("content", [])]
    assert [entry["token"] for entry in found] == [" a", "b", " a"]
    assert answer.usage.output_tokens == 4


def logprobs(token: int, text: str) -> dict[str, Any]:
    other = {"id": 6, "token": "b", "bytes": [98], "logprob": -2.0}
    own = {"id": token, "token": text, "bytes": list(text.encode()), "logprob": -0.5}
    return {"content": [{**own, "top_logprobs": [own, other]}]}


def test_each_token_of_an_emoji_has_an_entry_with_its_own_bytes() -> None:
    answer = answer_of(logprobs=True, top_logprobs=1)
    emoji = {**choice(0, {"content": "\U0001f600"}, predicted=4)}
    emoji["choices"][0]["logprobs"] = logprobs(4, "\U0001f600")
    found = choices_of(answer, emoji)[-1]["logprobs"]["content"]
    assert [each["bytes"] for each in found] == [[0xF0], [0x9F], [0x98], [0x80]]
    assert [each["logprob"] for each in found] == [-9999.0, -9999.0, -9999.0, -0.5]
    assert [len(each["top_logprobs"]) for each in found] == [0, 0, 0, 1]


def test_an_entry_has_openais_fields_and_as_many_alternatives_as_asked_for() -> None:
    for asked, count in (({}, 0), ({"top_logprobs": 0}, 0), ({"top_logprobs": 2}, 2)):
        answer = answer_of(logprobs=True, **asked)
        chunk = choice(0, {"content": " a"}, predicted=1)
        chunk["choices"][0]["logprobs"] = logprobs(5, " a")
        (entry,) = choices_of(answer, chunk)[-1]["logprobs"]["content"]
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        assert (entry["token"], entry["bytes"], entry["logprob"]) == (" a", [32, 97], -0.5)
        assert [set(each) for each in entry["top_logprobs"]] == [{"token", "logprob", "bytes"}] * count


def test_a_prompt_beyond_the_context_is_refused_with_openais_code() -> None:
    error = {"code": 400, "type": "exceed_context_size_error", "message": "?", "n_prompt_tokens": 90, "n_ctx": 64}
    with pytest.raises(EngineRefused, match="64 tokens") as refused:
        answer_of().accept({"error": error})
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"


def test_an_engines_fault_is_told_without_its_words() -> None:
    error = {"code": 500, "type": "server_error", "message": "the prompt was: secret"}
    with pytest.raises(EngineFailed) as failed:
        answer_of().accept({"error": error})
    assert "secret" not in failed.value.message


def test_what_an_engine_turns_down_is_told_without_its_words() -> None:
    error = {"code": 400, "type": "invalid_request_error", "message": "Failed to initialize samplers: secret"}
    with pytest.raises(EngineRefused) as refused:
        answer_of().accept({"error": error})
    assert "samplers" not in refused.value.message
    assert refused.value.param == "response_format"
