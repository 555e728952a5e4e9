"""The official client for Python, in the current version and in that of a year ago."""

import json
from collections.abc import Iterator

import demo
import documented
import openai
import pytest
from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

EXAMPLES = documented.blocks("openai for Python")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Say the weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


class GetWeather(BaseModel):
    """Say the weather of a place."""

    city: str


class Event(BaseModel):
    name: str
    day: int


@pytest.fixture
def bank() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo.BASE_URL, api_key=demo.KEY) as client:
        yield client


@pytest.fixture
def called(bank: openai.OpenAI) -> ChatCompletionMessage:
    """A message of the model that calls the tool for the weather."""
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = bank.chat.completions.create(
        model=demo.CHAT, messages=[QUESTION], tools=[WEATHER, CLOCK], tool_choice=choice, max_tokens=64
    )
    return answer.choices[0].message


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestConversation:
    def test_the_messages_of_answers_go_back_as_they_came(self, bank: openai.OpenAI) -> None:
        messages: list[object] = [{"role": "system", "content": "Be brief."}]
        for question in ("What is a bank?", "And a lease?", "Thank you."):
            messages.append({"role": "user", "content": question})
            answer = bank.chat.completions.create(model=demo.CHAT, messages=messages, max_tokens=12)
            messages.append(answer.choices[0].message)
            assert answer.choices[0].message.content

    def test_the_dumped_message_of_an_answer_goes_back_with_all_its_nulls(self, bank: openai.OpenAI) -> None:
        question = {"role": "user", "content": "What is a bank?"}
        answer = bank.chat.completions.create(model=demo.CHAT, messages=[question], max_tokens=12)
        messages = [question, answer.choices[0].message.model_dump(), {"role": "user", "content": "Go on."}]
        assert bank.chat.completions.create(model=demo.CHAT, messages=messages, max_tokens=12).choices

    async def test_the_asynchronous_client_gets_answers_too(self) -> None:
        async with openai.AsyncOpenAI(base_url=demo.BASE_URL, api_key=demo.KEY) as client:
            answer = await client.chat.completions.create(model=demo.CHAT, messages=[QUESTION], max_tokens=8)
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 8


class TestTools:
    def test_a_named_tool_is_called_with_arguments_of_its_schema(self, called: ChatCompletionMessage) -> None:
        assert called.tool_calls is not None
        (call,) = called.tool_calls
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        assert call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments)["city"], str)

    def test_a_call_and_its_result_go_back(self, bank: openai.OpenAI, called: ChatCompletionMessage) -> None:
        assert called.tool_calls is not None
        result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "Sunny, 21 degrees."}
        answer = bank.chat.completions.create(
            model=demo.CHAT, messages=[QUESTION, called, result], tools=[WEATHER], tool_choice="none", max_tokens=16
        )
        assert answer.choices[0].message.content

    def test_a_required_tool_is_called_in_a_stream(self, bank: openai.OpenAI) -> None:
        with bank.chat.completions.stream(
            model=demo.CHAT, messages=[QUESTION], tools=[WEATHER, CLOCK], tool_choice="required", max_tokens=256
        ) as stream:
            for _ in stream:
                pass
            choice = stream.get_final_completion().choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        for call in choice.message.tool_calls:
            assert call.function.name in {"get_weather", "get_time"}
            assert isinstance(json.loads(call.function.arguments), dict)

    def test_a_tool_made_of_a_class_gives_its_object(self, bank: openai.OpenAI) -> None:
        answer = bank.chat.completions.parse(
            model=demo.CHAT,
            messages=[QUESTION],
            tools=[openai.pydantic_function_tool(GetWeather)],
            tool_choice={"type": "function", "function": {"name": "GetWeather"}},
            max_tokens=256,
        )
        calls = answer.choices[0].message.tool_calls
        assert calls
        assert isinstance(calls[0].function.parsed_arguments, GetWeather)

    def test_a_model_that_may_choose_answers(self, bank: openai.OpenAI) -> None:
        answer = bank.chat.completions.create(
            model=demo.CHAT, messages=[QUESTION], tools=[WEATHER, CLOCK], max_tokens=64
        )
        assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


class TestStructuredOutput:
    def test_an_answer_is_an_object_of_the_class(self, bank: openai.OpenAI) -> None:
        answer = bank.chat.completions.parse(
            model=demo.CHAT,
            messages=[{"role": "user", "content": "Alice and Bob go to a fair on day 5."}],
            response_format=Event,
            max_tokens=400,
        )
        assert isinstance(answer.choices[0].message.parsed, Event)

    def test_an_answer_in_json_mode_is_json(self, bank: openai.OpenAI) -> None:
        answer = bank.chat.completions.create(
            model=demo.CHAT,
            messages=[{"role": "user", "content": 'Answer with this JSON: {"name": "Alice"}'}],
            response_format={"type": "json_object"},
            max_tokens=400,
            temperature=0,
        )
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


class TestStreaming:
    def test_chunks_make_an_answer_and_end_with_usage(self, bank: openai.OpenAI) -> None:
        chunks = list(
            bank.chat.completions.create(
                model=demo.CHAT,
                messages=[{"role": "user", "content": "What is a bank?"}],
                max_tokens=16,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens <= 16


class TestEmbeddings:
    def test_vectors_are_the_same_in_both_encodings(self, bank: openai.OpenAI) -> None:
        texts = ["A bank takes deposits.", "What is a lease?"]
        decoded = bank.embeddings.create(model=demo.EMBEDS, input=texts)
        numbers = bank.embeddings.create(model=demo.EMBEDS, input=texts, encoding_format="float")
        for one, other in zip(decoded.data, numbers.data, strict=True):
            assert len(one.embedding) == demo.DIMENSIONS
            assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
