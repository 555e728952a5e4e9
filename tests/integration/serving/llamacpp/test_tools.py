"""Tools on llama.cpp, as the official client asks for them and reads the answers; the model's layers are few.

The grammar makes the calls, so they can be read with any weights. Which tool is called means nothing here.
"""

import json
from typing import Any

import pytest
from jsonschema import validate
from local_engine import LocalEngine
from openai import pydantic_function_tool
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ConfigDict, Field


class Weather(BaseModel):
    """Get the weather of a city."""

    model_config = ConfigDict(extra="forbid")

    city: str = Field(max_length=12, pattern="^[A-Za-z ]+$")
    days: int = Field(ge=1, le=7)


class Add(BaseModel):
    """Add two numbers."""

    model_config = ConfigDict(extra="forbid")

    a: int = Field(ge=0, le=99)
    b: float = Field(ge=0.25, le=0.5, multiple_of=0.125)


TOOLS: list[Any] = [pydantic_function_tool(Weather), pydantic_function_tool(Add)]
SCHEMAS = {"Weather": Weather.model_json_schema(), "Add": Add.model_json_schema()}
ASKED = {"role": "user", "content": "What is the weather in Paris?"}
ADD = {"type": "function", "function": {"name": "Add"}}


def answered(engine: LocalEngine, **fields: Any) -> ChatCompletion:
    """Return the answer as the official client puts it together from the stream."""
    state = ChatCompletionStreamState()
    body = {"messages": [ASKED], "tools": TOOLS, "max_tokens": 400, "temperature": 1.5, **fields}
    for chunk in engine.chunks(body):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot


def calls_of(answer: ChatCompletion) -> list[tuple[str, Any]]:
    """Return the name and the arguments of each call, after a check of both."""
    calls = answer.choices[0].message.tool_calls or []
    assert len({call.id for call in calls}) == len(calls)
    read = [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"]
    for name, arguments in read:
        validate(arguments, SCHEMAS[name])
    return read


@pytest.mark.parametrize("number", range(3))
def test_a_required_call_names_a_declared_function_and_its_arguments_hold(
    local_engine: LocalEngine, number: int
) -> None:
    answer = answered(local_engine, tool_choice="required", seed=number)
    assert len(calls_of(answer)) == 1
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)


def test_the_named_function_is_called(local_engine: LocalEngine) -> None:
    assert [name for name, _ in calls_of(answered(local_engine, tool_choice=ADD))] == ["Add"]


@pytest.mark.parametrize("parameters", [None, {"type": "object", "properties": {}}])
def test_a_function_without_parameters_gets_none(local_engine: LocalEngine, parameters: dict[str, Any] | None) -> None:
    stop = {"type": "function", "function": {"name": "stop", "parameters": parameters}}
    answer = answered(local_engine, tools=[stop], tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == "{}"


def test_no_argument_is_invented_for_a_function_that_is_not_strict(local_engine: LocalEngine) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}}
    weather = {"type": "function", "function": {"name": "weather", "parameters": city}}
    for number in range(3):
        answer = answered(local_engine, tools=[weather], tool_choice="required", seed=number)
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments).keys() <= {"city"}


def test_one_answer_may_hold_several_calls_if_the_client_says_so(local_engine: LocalEngine) -> None:
    assert any(
        len(calls_of(answered(local_engine, tool_choice="required", parallel_tool_calls=True, seed=number))) > 1
        for number in range(3)
    )


def test_the_model_may_answer_itself(local_engine: LocalEngine) -> None:
    answer = answered(local_engine, max_tokens=8, temperature=0)
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "length"


def test_without_a_choice_of_tools_the_answer_is_text(local_engine: LocalEngine) -> None:
    assert answered(local_engine, max_tokens=8, tool_choice="none").choices[0].message.tool_calls is None


def test_every_choice_has_its_own_calls(local_engine: LocalEngine) -> None:
    answer = answered(local_engine, tool_choice="required", n=2)
    assert [len(choice.message.tool_calls or []) for choice in answer.choices] == [1, 1]


def test_a_second_turn_tells_the_model_the_call_and_its_result(local_engine: LocalEngine) -> None:
    first = answered(local_engine, tool_choice=ADD).choices[0].message
    assert first.tool_calls
    history = [ASKED, first.model_dump(exclude_none=True)]
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "0.75"}
    body = {"messages": [*history, result], "tools": TOOLS, "max_tokens": 8, "temperature": 0}
    answer = answered(local_engine, **body)
    assert answer.choices[0].message.content
    longer = local_engine.count_input_tokens(body | {"messages": [*history, {**result, "content": "0.75 " * 20}]})
    assert longer - local_engine.count_input_tokens(body) >= 19


def test_an_answer_that_calls_nothing_follows_its_schema(local_engine: LocalEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["b", "c"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    message = answered(local_engine, response_format=response_format, max_tokens=60).choices[0].message
    assert message.tool_calls or (message.content or "").startswith("{")
