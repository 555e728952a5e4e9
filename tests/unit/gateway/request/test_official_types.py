"""No field of a request that the official client's types describe is unknown to the platform."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from official_types import fields_of, smallest, values
from openai.types import EmbeddingCreateParams, completion_create_params
from openai.types.chat import completion_create_params as chat
from openai.types.chat.chat_completion_assistant_message_param import ChatCompletionAssistantMessageParam
from openai.types.chat.chat_completion_developer_message_param import ChatCompletionDeveloperMessageParam
from openai.types.chat.chat_completion_function_message_param import ChatCompletionFunctionMessageParam
from openai.types.chat.chat_completion_system_message_param import ChatCompletionSystemMessageParam
from openai.types.chat.chat_completion_tool_message_param import ChatCompletionToolMessageParam
from openai.types.chat.chat_completion_user_message_param import ChatCompletionUserMessageParam

from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.intake import parse_request
from finpool.gateway.request.options import RequestModel
from finpool.gateway.request.vectors import EmbeddingRequest
from finpool.kernel.errors import InvalidRequest

MESSAGES = (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionMessageParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
QUESTION = {"role": "user", "content": "x"}


def chat_fields() -> dict[str, Any]:
    return {**fields_of(chat.CompletionCreateParamsNonStreaming), **fields_of(chat.CompletionCreateParamsStreaming)}


def answered(document: dict[str, Any], shape: type[RequestModel]) -> InvalidRequest | None:
    try:
        parse_request(orjson.dumps(document), shape)
    except InvalidRequest as refused:
        return refused
    return None


def bodies(name: str, hint: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield requests with each value that the client's type describes, and the name of the field in question."""
    for value, path in values(hint):
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        yield {"model": "m", "messages": [QUESTION], name: value}, f"{name}{shown}"


def require_known(document: dict[str, Any], param: str, shape: type[RequestModel]) -> None:
    refused = answered(document, shape)
    if refused is None:
        return
    assert refused.code in ("unsupported_parameter", "invalid_value"), (param, refused.message)
    assert refused.param, (param, refused.message)


@pytest.mark.parametrize("name", sorted(chat_fields()))
def test_every_field_of_a_chat_is_known(name: str) -> None:
    assert name in ChatRequest.model_fields
    for document, param in bodies(name, chat_fields()[name]):
        require_known(document, param, ChatRequest)


@pytest.mark.parametrize("hint", MESSAGES, ids=lambda hint: hint.__name__)
def test_every_field_of_a_message_is_known(hint: Any) -> None:
    for message, path in values(hint):
        require_known({"model": "m", "messages": [QUESTION, message]}, str(path), ChatRequest)


@pytest.mark.parametrize("hint", MESSAGES, ids=lambda hint: hint.__name__)
def test_a_message_with_its_required_fields_alone_is_refused_for_its_role_or_its_place_only(hint: Any) -> None:
    refused = answered({"model": "m", "messages": [QUESTION, smallest(hint)]}, ChatRequest)
    role = smallest(hint)["role"]
    assert (refused.param if refused else None) == {
        "assistant": "messages[1].content",
        "function": "messages[1].role",
        "tool": "messages[1].role",
    }.get(role)


def test_every_field_of_a_text_completion_is_known() -> None:
    streamed = fields_of(completion_create_params.CompletionCreateParamsStreaming)
    fields = {**fields_of(completion_create_params.CompletionCreateParamsNonStreaming), **streamed}
    assert len(fields) >= 18
    for name, hint in fields.items():
        assert name in CompletionRequest.model_fields
        for value, path in values(hint):
            require_known({"model": "m", "prompt": "x", name: value}, f"{name}{path}", CompletionRequest)


def test_every_field_of_embeddings_is_known() -> None:
    for name, hint in fields_of(EmbeddingCreateParams).items():
        assert name in EmbeddingRequest.model_fields
        for value, path in values(hint):
            require_known({"model": "m", "input": "x", name: value}, f"{name}{path}", EmbeddingRequest)


def test_the_walk_reaches_fields_deep_within_a_request() -> None:
    paths = {path for name, hint in chat_fields().items() for _, path in bodies(name, hint)}
    assert len(paths) > 80
    assert {
        "messages[0].content[0].image_url.detail",
        "messages[0].content[0].file.file_id",
        "messages[0].tool_calls[0].custom.input",
        "tools[0].custom.format.grammar.syntax",
        "tool_choice.allowed_tools.mode",
        "response_format.json_schema.strict",
        "web_search_options.user_location.approximate.city",
        "moderation.policy.input.mode",
        "audio.voice.id",
    } <= paths
