"""The official clients' own answers can be sent back as messages, with all their fields."""

from collections.abc import Callable
from typing import Any

import pytest
from chat_requests import QUESTION, RESULT, TOOL, engine_body
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage, ParsedChatCompletionMessage
from pydantic import BaseModel

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
SENT_CALL = {"role": "assistant", "tool_calls": [CALL]}
SENT_TEXT = {"role": "assistant", "content": "42"}


class Found(BaseModel):
    """An answer that the client parses."""

    a: int


def plain_text() -> Any:
    return ChatCompletionMessage(role="assistant", content="42", annotations=[])


def with_reasoning() -> Any:
    fields = {"role": "assistant", "content": "42", "refusal": None, "reasoning": "6 x 7", "reasoning_content": "6 x 7"}
    return ChatCompletionMessage.model_validate(fields)


def with_a_call() -> Any:
    return ChatCompletionMessage.model_validate({"role": "assistant", "tool_calls": [CALL]})


def parsed_text() -> Any:
    return ParsedChatCompletionMessage[Found](role="assistant", content="42", parsed=Found(a=42))


def parsed_call() -> Any:
    function = {**CALL["function"], "parsed_arguments": {"a": 1}}  # type: ignore[dict-item]
    return ParsedChatCompletionMessage[Found].model_validate(
        {"role": "assistant", "tool_calls": [{**CALL, "function": function}]}
    )


def streamed(*deltas: dict[str, Any]) -> Any:
    """Return the message that the client puts together from a stream."""
    state = ChatCompletionStreamState(input_tools=[TOOL])  # type: ignore[list-item]
    for delta in [*deltas, {}]:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        chunk = {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.get_final_completion().choices[0].message


def streamed_text() -> Any:
    return streamed({"role": "assistant", "content": ""}, {"content": "4", "reasoning_content": "6"}, {"content": "2"})


def streamed_call() -> Any:
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"a": 1}'}}
    return streamed({"role": "assistant", "content": None, "tool_calls": [head]}, {"tool_calls": [rest]})


def whole_answer() -> Any:
    message = {"role": "assistant", "content": "42", "refusal": None, "tool_calls": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    return ChatCompletion.model_validate({**HEAD, "object": "chat.completion", "choices": [choice]}).choices[0].message


TEXTS: list[Callable[[], Any]] = [plain_text, with_reasoning, parsed_text, streamed_text, whole_answer]
CALLS: list[Callable[[], Any]] = [with_a_call, parsed_call, streamed_call]


@pytest.mark.parametrize("without_null", [False, True], ids=["with null", "without null"])
@pytest.mark.parametrize("message", TEXTS)
def test_an_answer_can_be_sent_back(message: Callable[[], Any], without_null: bool) -> None:
    sent = message().model_dump(exclude_none=without_null)
    assert engine_body(messages=[QUESTION, sent, QUESTION])["messages"][1] == SENT_TEXT


@pytest.mark.parametrize("without_null", [False, True], ids=["with null", "without null"])
@pytest.mark.parametrize("message", CALLS)
def test_a_call_can_be_sent_back_with_its_result(message: Callable[[], Any], without_null: bool) -> None:
    sent = message().model_dump(exclude_none=without_null)
    body = engine_body(messages=[QUESTION, sent, RESULT], tools=[TOOL])
    assert body["messages"][1] in (SENT_CALL, {**SENT_CALL, "content": ""})
    assert body["messages"][2] == RESULT


def test_the_node_clients_answers_can_be_sent_back() -> None:
    function = {"name": "look_up", "arguments": '{"a": 1}', "parsed_arguments": None}
    message = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "parsed": None,
        "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}],
    }
    assert engine_body(messages=[QUESTION, message, RESULT])["messages"][1] == SENT_CALL


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_an_answer_that_is_reasoning_alone_can_be_sent_back(field: str) -> None:
    message = {"role": "assistant", "content": None, "refusal": None, field: "Hm"}
    assert engine_body(messages=[QUESTION, message, QUESTION])["messages"][1] == {"role": "assistant"}


@pytest.mark.parametrize(
    "refusal",
    [{"content": None, "refusal": "No."}, {"content": [{"type": "refusal", "refusal": "No."}]}],
    ids=["as a field", "as a part"],
)
def test_models_read_a_refusal_as_the_content(refusal: dict[str, Any]) -> None:
    sent = engine_body(messages=[QUESTION, {"role": "assistant", **refusal}, QUESTION])["messages"][1]["content"]
    assert sent in ("No.", [{"type": "text", "text": "No."}])
