"""The schemas in a door's document say what is really written: no field less, none more."""

from base64 import b64encode
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import Tier
from finpool.gateway.answer.assemble import Completion
from finpool.gateway.answer.render import Renderer, chat_renderer, text_renderer
from finpool.gateway.answer.schemas import ChatCompletionChunk, ChatCompletionView
from finpool.gateway.answer.text_schemas import TextCompletionChunk, TextCompletionView
from finpool.gateway.answer.texts import TextCompletion, TextRenderer
from finpool.gateway.answer.vector_schemas import EmbeddingsView, RankingView
from finpool.gateway.answer.vectors import COHERE, JINA, EmbeddingList, Ranking, RankingApi
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.serving.vectors import packed

USAGE = TokenUsage(input_tokens=10, cached_input_tokens=4, output_tokens=2)
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": ""},
    {"content": "4", "reasoning_content": "2 and 2"},
    {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]},
]
LOGPROBS = {"content": [{"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": []}], "refusal": None}


@pytest.fixture
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


@pytest.fixture
def renderer(model: Model) -> Renderer:
    return chat_renderer("req_1", model, 1_700_000_000, Tier.STANDARD, include_usage=True)


def described(body: bytes, schema: type[BaseModel]) -> Any:
    """Return the body as the schema understands it; fields that the schema does not name are missing from that."""
    return schema.model_validate_json(body, strict=True).model_dump(exclude_unset=True)


def chunks() -> list[list[dict[str, Any]]]:
    parts = [[{"index": 0, "delta": delta, "logprobs": LOGPROBS, "finish_reason": None}] for delta in DELTAS]
    return [*parts, [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]]


def test_a_whole_completion_has_the_documented_fields(renderer: Renderer) -> None:
    completion = Completion(renderer)
    for choices in chunks():
        completion.add(choices)
    body = completion.body(USAGE)
    assert described(body, ChatCompletionView) == orjson.loads(body)


def test_each_event_of_a_streamed_completion_has_the_documented_fields(renderer: Renderer) -> None:
    events = [renderer.chunk(choices) for choices in chunks()] + [renderer.usage_chunk(USAGE)]
    for event in events:
        body = event.removeprefix(b"data: ").strip()
        assert described(body, ChatCompletionChunk) == orjson.loads(body)


def text_chunks() -> list[list[dict[str, Any]]]:
    part = {"index": 0, "delta": {"content": "4"}, "logprobs": LOGPROBS, "finish_reason": None}
    return [[part], [{"index": 0, "delta": {}, "finish_reason": "stop"}]]


TEXT = CompletionRequest.model_validate({"model": "m", "prompt": "2 + 2 =", "logprobs": 1})


def test_a_whole_text_completion_has_the_documented_fields(model: Model) -> None:
    completion = TextCompletion(text_renderer("req_1", model, 1_700_000_000, include_usage=False), TEXT)
    for choices in text_chunks():
        completion.add(choices)
    body = completion.body(USAGE)
    assert described(body, TextCompletionView) == orjson.loads(body)


def test_each_event_of_a_streamed_text_completion_has_the_documented_fields(model: Model) -> None:
    renderer = TextRenderer(text_renderer("req_1", model, 1_700_000_000, include_usage=True), TEXT)
    events = [renderer.chunk(choices) for choices in text_chunks()] + [renderer.usage_chunk(USAGE)]
    for event in events:
        body = event.removeprefix(b"data: ").strip()
        assert described(body, TextCompletionChunk) == orjson.loads(body)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_have_the_documented_fields(model: Model, encoding: str) -> None:
    request = EmbeddingRequest.model_validate({"model": model.id, "input": ["a"], "encoding_format": encoding})
    embeddings = EmbeddingList(request, model)
    embeddings.add([{"index": 0, "embedding": b64encode(packed([0.5, 1.0])).decode()}])
    body = embeddings.body(USAGE)
    assert described(body, EmbeddingsView) == orjson.loads(body)


@pytest.mark.parametrize("api", [JINA, COHERE])
@pytest.mark.parametrize("returned", [True, False, None])
def test_a_ranking_has_the_documented_fields(model: Model, returned: bool | None, api: RankingApi) -> None:
    fields = {"model": model.id, "query": "q", "documents": ["a", "b"], "return_documents": returned}
    ranking = Ranking(RerankRequest.model_validate(fields), model, "req_1", api)
    ranking.add([{"index": 0, "relevance_score": 0.25}, {"index": 1, "relevance_score": 0.5}])
    body = ranking.body(USAGE)
    assert described(body, RankingView) == orjson.loads(body)
