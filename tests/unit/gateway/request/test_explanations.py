"""Each wrong value of each field is refused in plain words, by the field's own name."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from chat_requests import CALL, CALLING, QUESTION, RESULT, TOOL

from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.intake import parse_request
from finpool.gateway.request.options import RequestModel
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.kernel.errors import InvalidRequest

Path = tuple[int | str, ...]

CHAT: dict[str, Any] = {
    **dict.fromkeys(ChatRequest.model_fields),
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        QUESTION,
        {**CALLING, "name": "a", "refusal": None, "audio": None, "function_call": None, "annotations": []},
        {**RESULT, "name": "look_up"},
        {"role": "assistant", "content": [{"type": "text", "text": "4"}, {"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": [{"type": "text", "text": "Why?", "prompt_cache_breakpoint": None}]},
    ],
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 0.5,
    "n": 1,
    "seed": 5,
    "stop": ["a"],
    "ignore_eos": True,
    "logprobs": True,
    "top_logprobs": 5,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "description": "x", "schema": {"type": "object"}, "strict": True},
    },
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "x", "parameters": {"type": "object"}}},
        TOOL,
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "service_tier": "flex",
    "metadata": {"case": "7"},
}
COMPLETION: dict[str, Any] = {
    **dict.fromkeys(CompletionRequest.model_fields),
    "model": "m",
    "prompt": ["a", "b"],
    "max_tokens": 5,
    "n": 2,
    "best_of": 2,
    "echo": True,
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True},
}
EMBEDDINGS = {"model": "m", "input": ["a"], "encoding_format": "float", "dimensions": 5, "user": "u"}
RANKING = {
    "model": "m",
    "query": "q",
    "documents": ["a", {"text": "b"}],
    "top_n": 1,
    "return_documents": True,
    "user": "u",
}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63 - 1, 2**64, 1.5, -1e300, "", "x", "x" * 40_000, "user", "function"),
    *([], {}, [1], ["x"], [[]], [{}], [None], {"x": 1}, {"type": "custom"}, {"type": "image_url", "image_url": {}}),
    *([["x"] * 5], ["x"] * 5, ["", "x"], {"role": "user"}, {str(number): "x" for number in range(20)}),
]
MACHINE_WORDS = re.compile(
    r"[Vv]alue error|[a-z]+_(?:type|parsing|error|forbidden)\b|Input|instance|dictionary|tag|union|NoneType|list\[|"
    r"\bstr\b|\bint\b|\bdict\b|pydantic|<|Messages?\b|Part\b|None\b|not valid"
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each value within a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        yield (*path, part)
        yield from places(child, (*path, part))


def replaced(document: Any, path: Path, value: Any) -> Any:
    changed = copy.deepcopy(document)
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return changed


def name_of(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def refusals_of(document: dict[str, Any], shape: type[RequestModel]) -> Iterator[tuple[str, InvalidRequest]]:
    for path in places(document):
        for value in VALUES:
            # orjson writes no whole number of more than 64 bits; a client may.
            body = orjson.dumps(replaced(document, path, value if value != 2**64 else 2.0**64))
            try:
                parse_request(body, shape)
            except InvalidRequest as refused:
                yield name_of(path), refused


SHAPES: list[tuple[dict[str, Any], type[RequestModel]]] = [
    (CHAT, ChatRequest),
    (COMPLETION, CompletionRequest),
    (EMBEDDINGS, EmbeddingRequest),
    (RANKING, RerankRequest),
]


@pytest.mark.parametrize(("document", "shape"), SHAPES, ids=lambda each: getattr(each, "__name__", ""))
def test_every_wrong_value_is_explained_in_plain_words(document: dict[str, Any], shape: type[RequestModel]) -> None:
    parse_request(orjson.dumps(document), shape)
    refused = {(place, error.param, error.message) for place, error in refusals_of(document, shape)}
    assert len(refused) > 15
    for place, param, message in refused:
        assert param, (place, message)
        assert not MACHINE_WORDS.search(message.replace(param, "")), message
        assert message.endswith("."), message


@pytest.mark.parametrize(("document", "shape"), SHAPES, ids=lambda each: getattr(each, "__name__", ""))
def test_every_wrong_value_is_refused_by_the_name_of_its_field(
    document: dict[str, Any], shape: type[RequestModel]
) -> None:
    elsewhere = {
        (place, error.param)
        for place, error in refusals_of(document, shape)
        if not (str(error.param).startswith(place) or place.startswith(str(error.param)))
    }
    # A field that contradicts another one is refused by the name of the one that cannot hold.
    allowed = {
        "logprobs": {"top_logprobs"},
        "n": {"best_of"},
        "tools": {"tool_choice", "parallel_tool_calls"},
        "tools[0].function.name": {"tool_choice", "tools[1].function.name"},
        "stream": {"stream_options"},
        "response_format.type": {"response_format.json_schema"},
        "messages[3].tool_calls[0].id": {"messages[4].tool_call_id"},
    }
    for place, param in elsewhere:
        related = place.startswith("messages") and str(param).startswith("messages")
        assert related or any(place.startswith(each) and param in others for each, others in allowed.items()), (
            place,
            param,
        )


EXPLAINED: dict[str, tuple[dict[str, Any], str, str]] = {
    "five stops": ({"stop": ["a"] * 5}, "stop", "it may have 4 entries at most"),
    "an empty stop": ({"stop": ""}, "stop", "it may not be empty"),
    "a stop in a list": ({"stop": ["a", 1]}, "stop[1]", "it must be a text"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].type",
        "models take and give text only",
    ),
    "both limits": (
        {"max_tokens": 5, "max_completion_tokens": 5},
        "max_completion_tokens",
        "give max_completion_tokens or max_tokens, not both",
    ),
    "a number as content": (
        {"messages": [{"role": "user", "content": 5}]},
        "messages[0].content",
        "it must be a text or a list of content parts",
    ),
    "an unknown role": (
        {"messages": [{"role": "robot", "content": "x"}]},
        "messages[0].role",
        "it must be 'system', 'developer', 'user', 'assistant' or 'tool'",
    ),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role", "it must be 'system'"),
    "no object": ({"messages": ["x"]}, "messages[0]", "it must be an object"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content", "Missing required parameter"),
    "a number too large": ({"temperature": 3}, "temperature", "it must be 2 or less"),
    "a word for a number": ({"temperature": "hot"}, "temperature", "it must be a number"),
    "a fraction": ({"n": 1.5}, "n", "it must be a whole number"),
    "a custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "'function'"),
    "a call of a custom tool": (
        {"messages": [{**CALLING, "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}]},
        "messages[0].tool_calls[0].type",
        "'function'",
    ),
    "arguments that are an object": (
        {"messages": [{**CALLING, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}]},
        "messages[0].tool_calls[0].function.arguments",
        "it must be a text",
    ),
    "an unknown option": ({"Best Of": 2}, "Best Of", "leave it out"),
    "a long unknown option": ({"x" * 5000: 2}, "x" * 128, "Unknown parameter"),
}


@pytest.mark.parametrize(("fields", "param", "words"), EXPLAINED.values(), ids=EXPLAINED.keys())
def test_the_reason_is_one_that_a_person_can_act_on(fields: dict[str, Any], param: str, words: str) -> None:
    body = orjson.dumps({"model": "m", "messages": [QUESTION], **fields})
    with pytest.raises(InvalidRequest) as refused:
        parse_request(body, ChatRequest)
    assert refused.value.param == param
    assert words in refused.value.message
