"""The parsing of a request: bytes become a valid request or one error."""

from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from finpool.gateway.errors import InvalidJson, InvalidValue, UnknownParameter, UnsupportedContentType
from finpool.gateway.request.chat import ChatRequest, RequestModel
from finpool.kernel.errors import InvalidRequest

Request = TypeVar("Request", bound=RequestModel)


def require_json(content_type: str | None) -> None:
    """Raise `UnsupportedContentType` unless the body is declared as JSON."""
    declared = (content_type or "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise UnsupportedContentType("The content type must be application/json.")


def parse_chat_request(body: bytes) -> ChatRequest:
    """Parse and validate a chat completion's body; the error names the first wrong field."""
    return parse_request(body, ChatRequest)


def parse_request(body: bytes, shape: type[Request]) -> Request:
    """Parse and validate a body; raise `InvalidJson`, `UnknownParameter` or `InvalidValue` for its first fault."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise _explain(error) from error


def _explain(error: ValidationError) -> InvalidRequest:
    problems = error.errors(include_url=False, include_input=False)
    unknown = [item for item in problems if item["type"] == "extra_forbidden"]
    first = unknown[0] if unknown else problems[0]
    param = _name(first["loc"])
    if unknown:
        return UnknownParameter(f"Unknown parameter: '{param}'.", param=param)
    return InvalidValue(f"Invalid value for '{param}': {first['msg']}." if param else f"{first['msg']}.", param=param)


def _name(location: tuple[int | str, ...]) -> str | None:
    """Return `("messages", 0, "content")` as `messages[0].content`; names of union branches are left out."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part[0].islower() and part not in ("str", "list", "dict"):
            name += f".{part}" if name else part
    return name or None
