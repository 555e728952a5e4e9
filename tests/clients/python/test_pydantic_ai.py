"""pydantic-ai: agents with tools, typed outputs and histories of its own message objects."""

import demo
import documented
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, NativeOutput, Tool, ToolOutput
from pydantic_ai.direct import model_request
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

EXAMPLES = documented.blocks("pydantic-ai")
PROVIDER = OpenAIProvider(base_url=demo.BASE_URL, api_key=demo.KEY)


class Event(BaseModel):
    """An event with its name and the day of the month."""

    name: str
    day: int


@pytest.fixture
def model() -> OpenAIChatModel:
    return OpenAIChatModel(demo.CHAT, provider=PROVIDER, settings={"max_tokens": 96, **demo.CALM})


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestConversation:
    async def test_the_history_goes_back_and_survives_json(self, model: OpenAIChatModel) -> None:
        agent = Agent(model, instructions="Be brief.")
        first = await agent.run("What is a bank?")
        second = await agent.run("And a lease?", message_history=first.all_messages())
        stored = ModelMessagesTypeAdapter.validate_json(second.all_messages_json())
        third = await agent.run("Thank you.", message_history=stored)
        assert first.output
        assert second.output
        assert third.output


class TestTools:
    async def test_a_call_runs_the_function_and_its_result_goes_back(self, model: OpenAIChatModel) -> None:
        cities: list[str] = []

        def get_weather(city: str) -> str:
            """Say the weather of a place."""
            cities.append(city)
            return f"It is sunny in {city}."

        asked = ModelRequest.user_text_prompt("What is the weather in Paris?")
        offered = ModelRequestParameters(function_tools=[Tool(get_weather).tool_def], allow_text_output=False)
        called = await model_request(model, [asked], model_request_parameters=offered)
        ran = await Agent(model, tools=[get_weather]).run(message_history=[asked, called])
        assert len(cities) >= 1
        assert ran.output

    async def test_a_model_that_may_choose_answers(self, model: OpenAIChatModel) -> None:
        agent = Agent(model)

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Say the weather of a place."""
            return f"It is sunny in {city}."

        answer = await agent.run("What is the weather in Paris?", usage_limits=UsageLimits(request_limit=5))
        assert answer.output


class TestStructuredOutput:
    @pytest.mark.parametrize("output", [ToolOutput(Event), NativeOutput(Event)], ids=["tool", "native"])
    async def test_an_output_is_an_object_of_the_class(self, model: OpenAIChatModel, output: object) -> None:
        told = await Agent(model, output_type=output, retries=3).run("Alice and Bob go to a fair on day 5.")
        assert isinstance(told.output, Event)


class TestStreaming:
    async def test_a_stream_ends_with_the_whole_text_and_usage(self, model: OpenAIChatModel) -> None:
        async with Agent(model).run_stream("What is a bank?") as streamed:
            texts = [text async for text in streamed.stream_text(debounce_by=None)]
            assert texts[-1] == await streamed.get_output()
            assert streamed.usage.output_tokens > 0

    async def test_an_object_can_be_streamed(self, model: OpenAIChatModel) -> None:
        async with Agent(model, output_type=Event).run_stream("Alice and Bob go to a fair on day 5.") as streamed:
            assert isinstance(await streamed.get_output(), Event)


class TestEmbeddings:
    async def test_queries_and_documents_have_vectors_of_one_length(self) -> None:
        embedder = Embedder(OpenAIEmbeddingModel(demo.EMBEDS, provider=PROVIDER))
        query = await embedder.embed_query("What is a bank?")
        documents = await embedder.embed_documents(["A bank takes deposits.", "What is a lease?"])
        assert {len(each) for each in [*query.embeddings, *documents.embeddings]} == {demo.DIMENSIONS}
