"""LlamaIndex's classes for servers that speak OpenAI's API."""

import asyncio

import demo
import documented
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

EXAMPLES = documented.blocks("LlamaIndex")


class Event(BaseModel):
    """An event with its name and the day of the month."""

    name: str
    day: int


def get_weather(city: str) -> str:
    """Say the weather of a place."""
    return f"It is sunny in {city}."


WEATHER = FunctionTool.from_defaults(get_weather)


@pytest.fixture
def llm() -> OpenAILike:
    return OpenAILike(
        model=demo.CHAT,
        api_base=demo.BASE_URL,
        api_key=demo.KEY,
        context_window=2048,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        max_tokens=96,
        temperature=demo.CALM["temperature"],
        additional_kwargs={"frequency_penalty": demo.CALM["frequency_penalty"]},
    )


@pytest.fixture
def embeddings() -> OpenAILikeEmbedding:
    return OpenAILikeEmbedding(model_name=demo.EMBEDS, api_base=demo.BASE_URL, api_key=demo.KEY)


class TestExample:
    @pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
    def test_the_documented_example_prints_an_answer(self, block: str) -> None:
        assert documented.printed(block).strip()


class TestConversation:
    def test_messages_of_answers_go_back(self, llm: OpenAILike) -> None:
        messages = [ChatMessage(role="system", content="Be brief.")]
        for question in ("What is a bank?", "And a lease?", "Thank you."):
            messages.append(ChatMessage(role="user", content=question))
            messages.append(llm.chat(messages).message)
            assert messages[-1].content


class TestTools:
    def test_a_call_and_its_result_go_back(self, llm: OpenAILike) -> None:
        question = ChatMessage(role="user", content="What is the weather in Paris?")
        called = llm.chat_with_tools([WEATHER], chat_history=[question], tool_choice="get_weather")
        (call,) = llm.get_tool_calls_from_response(called)
        result = ChatMessage(
            role="tool", content=get_weather(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id}
        )
        history = [question, called.message, result]
        assert llm.chat_with_tools([WEATHER], chat_history=history, tool_choice="none").message.content

    def test_a_required_call_runs_the_function(self, llm: OpenAILike) -> None:
        ran = llm.predict_and_call([WEATHER], user_msg="What is the weather in Paris?", tool_required=True)
        assert str(ran.response).startswith("It is sunny in")

    def test_an_agent_that_may_choose_answers(self, llm: OpenAILike) -> None:
        async def run() -> str:
            agent = FunctionAgent(tools=[WEATHER], llm=llm)
            return str(await agent.run("What is the weather in Paris?", max_iterations=5))

        assert asyncio.run(run())


class TestStructuredOutput:
    def test_an_answer_is_an_object_of_the_class(self, llm: OpenAILike) -> None:
        answer = llm.as_structured_llm(Event).complete("Alice and Bob go to a fair on day 5.")
        assert isinstance(answer.raw, Event)


class TestStreaming:
    def test_deltas_make_the_text(self, llm: OpenAILike) -> None:
        parts = list(llm.stream_chat([ChatMessage(role="user", content="What is a bank?")]))
        assert "".join(part.delta or "" for part in parts) == parts[-1].message.content

    def test_a_call_can_be_streamed(self, llm: OpenAILike) -> None:
        parts = list(
            llm.stream_chat_with_tools([WEATHER], user_msg="What is the weather in Paris?", tool_required=True)
        )
        (call,) = llm.get_tool_calls_from_response(parts[-1])
        assert call.tool_name == "get_weather"


class TestEmbeddings:
    def test_an_index_answers_a_question_over_documents(self, llm: OpenAILike, embeddings: OpenAILikeEmbedding) -> None:
        documents = [Document(text="A bank takes deposits."), Document(text="The sky is blue.")]
        index = VectorStoreIndex.from_documents(documents, embed_model=embeddings)
        (found,) = index.as_retriever(similarity_top_k=1).retrieve("Who takes deposits?")
        assert found.text == "A bank takes deposits."
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
        chat = index.as_chat_engine(chat_mode="context", llm=llm, memory=memory)
        assert str(chat.chat("Who takes deposits?"))
        assert str(chat.chat("And then?"))
