"""OpenAI's Agents SDK over chat completions."""

import agents
import demo
import documented
import openai
import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, SQLiteSession, function_tool
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

EXAMPLES = documented.blocks("OpenAI Agents SDK")
SETTINGS = {"max_tokens": 96, **demo.CALM}

agents.set_tracing_disabled(True)


class Event(BaseModel):
    name: str
    day: int


@function_tool
def get_weather(city: str) -> str:
    """Say the weather of a place."""
    return f"It is sunny in {city}."


@pytest.fixture
def model() -> OpenAIChatCompletionsModel:
    bank = openai.AsyncOpenAI(base_url=demo.BASE_URL, api_key=demo.KEY)
    return OpenAIChatCompletionsModel(model=demo.CHAT, openai_client=bank)


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestConversation:
    async def test_items_of_a_run_go_back(self, model: OpenAIChatCompletionsModel) -> None:
        agent = Agent(name="Assistant", instructions="Be brief.", model=model, model_settings=ModelSettings(**SETTINGS))
        first = await Runner.run(agent, "What is a bank?")
        second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "And a lease?"}])
        assert first.final_output
        assert second.final_output

    async def test_a_session_keeps_the_turns(self, model: OpenAIChatCompletionsModel) -> None:
        agent = Agent(name="Assistant", instructions="Be brief.", model=model, model_settings=ModelSettings(**SETTINGS))
        session = SQLiteSession("bank")
        await Runner.run(agent, "What is a bank?", session=session)
        assert (await Runner.run(agent, "And a lease?", session=session)).final_output
        assert len(await session.get_items()) == 4


class TestTools:
    @pytest.mark.parametrize("choice", ["required", "get_weather"])
    async def test_a_call_runs_the_function_and_its_result_goes_back(
        self, model: OpenAIChatCompletionsModel, choice: str
    ) -> None:
        agent = Agent(
            name="Weather",
            model=model,
            tools=[get_weather],
            model_settings=ModelSettings(tool_choice=choice, **SETTINGS),
        )
        ran = await Runner.run(agent, "What is the weather in Paris?")
        kinds = [each.type for each in ran.new_items]
        assert kinds[:2] == ["tool_call_item", "tool_call_output_item"]

    async def test_a_handoff_is_a_call_too(self, model: OpenAIChatCompletionsModel) -> None:
        other = Agent(name="Other", instructions="Be brief.", model=model, model_settings=ModelSettings(**SETTINGS))
        first = Agent(
            name="First",
            model=model,
            handoffs=[other],
            model_settings=ModelSettings(tool_choice="required", **SETTINGS),
        )
        ran = await Runner.run(first, "Ask the other one what a bank is.")
        assert ran.last_agent.name == "Other"
        assert ran.final_output

    async def test_a_model_that_may_choose_answers(self, model: OpenAIChatCompletionsModel) -> None:
        agent = Agent(name="Weather", model=model, tools=[get_weather], model_settings=ModelSettings(**SETTINGS))
        assert (await Runner.run(agent, "What is the weather in Paris?")).final_output is not None


class TestStructuredOutput:
    async def test_an_output_is_an_object_of_the_class(self, model: OpenAIChatCompletionsModel) -> None:
        agent = Agent(name="Events", model=model, output_type=Event, model_settings=ModelSettings(**SETTINGS))
        ran = await Runner.run(agent, "Alice and Bob go to a fair on day 5.")
        assert isinstance(ran.final_output, Event)


class TestStreaming:
    async def test_the_deltas_make_the_output(self, model: OpenAIChatCompletionsModel) -> None:
        agent = Agent(name="Assistant", model=model, model_settings=ModelSettings(include_usage=True, **SETTINGS))
        streamed = Runner.run_streamed(agent, "What is a bank?")
        deltas = [
            event.data.delta
            async for event in streamed.stream_events()
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
        ]
        assert "".join(deltas) == streamed.final_output
        assert streamed.context_wrapper.usage.output_tokens > 0

    async def test_a_call_can_be_streamed(self, model: OpenAIChatCompletionsModel) -> None:
        settings = ModelSettings(tool_choice="required", **SETTINGS)
        agent = Agent(name="Weather", model=model, tools=[get_weather], model_settings=settings)
        streamed = Runner.run_streamed(agent, "What is the weather in Paris?")
        async for _ in streamed.stream_events():
            pass
        assert streamed.new_items[0].type == "tool_call_item"
