"""The parsing of a request: bytes become a valid request or one error."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from finpool.gateway.errors import InvalidJson
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.explain import explain
from finpool.gateway.request.messages import drop_fields_of_other_roles
from finpool.gateway.request.options import RequestModel
from finpool.kernel.strict_json import bracketed, parse_strictly

Request = TypeVar("Request", bound=RequestModel)
Parsed = TypeVar("Parsed")

LARGE_BYTES_MIN = 32_768
"""A larger body is parsed in a thread: a megabyte of tools takes a second, in which no other request would go on."""

_LARGE_BODIES = ThreadPoolExecutor(max_workers=2, thread_name_prefix="intake")

_ESCAPED_COLON = re.compile(rb"\\u003[aA]")


async def parsed(body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Parse a body with `parse`, and raise its errors; other requests go on while a large one is parsed."""
    if len(body) < LARGE_BYTES_MIN:
        return parse(body)
    return await asyncio.get_running_loop().run_in_executor(_LARGE_BODIES, parse, body)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Parse and validate a chat completion's body; the error names the first wrong field."""
    document = _document(body)
    try:
        return ChatRequest.model_validate(document)
    except ValidationError as error:
        # Few clients write nulls for other roles, so only a refused document is searched for them.
        if not drop_fields_of_other_roles(document.get("messages")):
            raise explain(error, document) from error
    return _validated(document, ChatRequest)


def parse_request(body: bytes, shape: type[Request]) -> Request:
    """Parse and validate a body; raise the error of its first fault.

    It is `InvalidJson`, `InvalidRequest` for a repeated field, `UnsupportedParameter`, `UnknownParameter` or
    `InvalidValue`.
    """
    return _validated(_document(body), shape)


def _validated(document: dict[str, Any], shape: type[Request]) -> Request:
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise explain(error, document) from error


def _document(body: bytes) -> dict[str, Any]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    _require_fields_once(body, document)
    return document


def _require_fields_once(body: bytes, document: dict[str, Any]) -> None:
    """Raise `InvalidRequest` if an object of the body repeats a field, of which the document holds only the last.

    Written again, the document has the body's colons, unless a field was lost or a colon was written as an escape. Only
    then the slower parser looks for the field.
    """
    try:
        colons = orjson.dumps(document).count(b":")
    except orjson.JSONEncodeError as error:
        raise InvalidJson("The body is nested too deeply.") from error
    if body.count(b":") == colons and not (b"\\" in body and _ESCAPED_COLON.search(body)):
        return
    try:
        parse_strictly(body, bracketed)
    except ValueError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error
