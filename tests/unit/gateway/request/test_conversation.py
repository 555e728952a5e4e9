"""The order of messages, tool calls and their results, as OpenAI asks for it."""

import json
from typing import Any

import pytest
from chat_requests import CALL, CALLING, QUESTION, RESULT, TOOL, engine_body, parsed, refusal

ANSWER = {"role": "assistant", "content": "42"}
TWO_CALLS = {**CALLING, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
SECOND = {**RESULT, "tool_call_id": "call_2"}

ORDERED = {
    "a call, its result, an answer": [QUESTION, CALLING, RESULT, ANSWER, QUESTION],
    "two calls whose results are in another order": [QUESTION, TWO_CALLS, SECOND, RESULT],
    "the same id in a later call": [QUESTION, CALLING, RESULT, CALLING, RESULT],
    "two calls with one id": [QUESTION, {**CALLING, "tool_calls": [CALL, CALL]}, RESULT, RESULT],
}
DISORDERED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a result without a call": ([QUESTION, RESULT], "messages[1].role"),
    "a result after another message": ([QUESTION, CALLING, RESULT, ANSWER, RESULT], "messages[4].role"),
    "a result of another call": ([QUESTION, CALLING, SECOND], "messages[2].tool_call_id"),
    "two results of one call": ([QUESTION, CALLING, RESULT, RESULT], "messages[3].tool_call_id"),
    "a call without a result": ([QUESTION, CALLING, QUESTION], "messages[1].tool_calls"),
    "a call with half its results": ([QUESTION, TWO_CALLS, RESULT, ANSWER], "messages[1].tool_calls"),
    "a call at the end": ([QUESTION, CALLING], "messages[1].tool_calls"),
    "an assistant without words": ([QUESTION, {"role": "assistant"}], "messages[1].content"),
    "an assistant with null": ([QUESTION, {"role": "assistant", "content": None}], "messages[1].content"),
    "an answer and a refusal": ([{**ANSWER, "refusal": "No."}], "messages[0].refusal"),
}


@pytest.mark.parametrize("messages", ORDERED.values(), ids=ORDERED.keys())
def test_an_ordered_conversation_is_taken(messages: list[dict[str, Any]]) -> None:
    assert len(parsed(messages=messages).messages) == len(messages)


@pytest.mark.parametrize(("messages", "param"), DISORDERED.values(), ids=DISORDERED.keys())
def test_a_message_out_of_order_is_refused_by_name(messages: list[dict[str, Any]], param: str) -> None:
    error = refusal(messages=messages)
    assert (error.status, error.code, error.param) == (400, "invalid_value", param)


def test_a_missing_result_is_named_by_the_call() -> None:
    assert "call_1, call_2" in refusal(messages=[QUESTION, TWO_CALLS]).message


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("{", {"text": "{"}),
        ("7", {"text": "7"}),
        ('["a"]', {"text": '["a"]'}),
    ],
)
def test_arguments_that_are_no_object_reach_engines_as_one(written: str, sent: dict[str, Any]) -> None:
    call = {**CALL, "function": {"name": "look_up", "arguments": written}}
    messages = engine_body(messages=[QUESTION, {**CALLING, "tool_calls": [call]}, RESULT])["messages"]
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == sent


def test_names_of_speakers_reach_no_engine() -> None:
    named = [{**QUESTION, "name": "Ann"}, {**CALLING, "name": "Bob"}, {**RESULT, "name": "look_up"}]
    assert engine_body(messages=named)["messages"] == [QUESTION, {"role": "assistant", "tool_calls": [CALL]}, RESULT]


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    named = {"type": "function", "function": {"name": "other"}}
    error = refusal(tools=[TOOL], tool_choice=named)
    assert error.param == "tool_choice"
    assert "other" in error.message


def test_two_tools_of_one_name_are_refused() -> None:
    assert refusal(tools=[TOOL, TOOL]).param == "tools[1].function.name"


@pytest.mark.parametrize("name", ["", "look up", "ein-Käufer", "a.b", "f" * 65])
def test_a_tools_name_is_one_that_openai_takes(name: str) -> None:
    assert refusal(tools=[{"type": "function", "function": {"name": name}}]).param == "tools[0].function.name"


@pytest.mark.parametrize("kind", ["custom", "allowed_tools"])
def test_other_choices_of_openai_are_refused_as_not_served(kind: str) -> None:
    error = refusal(tools=[TOOL], tool_choice={"type": kind, kind: {"name": "look_up"}})
    assert (error.code, error.param) == ("unsupported_parameter", "tool_choice.type")


def test_the_older_form_of_results_is_refused_with_the_newer_one() -> None:
    error = refusal(messages=[QUESTION, {"role": "function", "name": "look_up", "content": "42"}])
    assert (error.code, error.param) == ("unsupported_parameter", "messages[1].role")
    assert "'tool'" in error.message
