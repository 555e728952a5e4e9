"""Chat requests for the tests of parsing."""

from typing import Any

import orjson
import pytest

from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.intake import parse_chat_request
from finpool.kernel.errors import InvalidRequest

QUESTION = {"role": "user", "content": "What is a bank?"}
TOOL = {"type": "function", "function": {"name": "look_up"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "42"}


def parsed(**fields: Any) -> ChatRequest:
    """Return a request with these fields."""
    return parse_chat_request(orjson.dumps({"model": "small", "messages": [QUESTION], **fields}))


def engine_body(**fields: Any) -> dict[str, Any]:
    """Return the part of the engine's request that follows from these fields."""
    body = parsed(**fields).engine_body(7)
    del body["max_tokens"]
    return body if "messages" in fields else {name: body[name] for name in body if name != "messages"}


def refusal(**fields: Any) -> InvalidRequest:
    """Return the error of a request with these fields."""
    with pytest.raises(InvalidRequest) as refused:
        parsed(**fields)
    return refused.value
