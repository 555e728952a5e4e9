"""The parsing of a request: bytes become a valid request or one error, within a bounded time."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from finpool.gateway.errors import InvalidJson
from finpool.gateway.request.arguments import VALUES_MAX
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.explain import explain
from finpool.gateway.request.large_bodies import LargeBodies
from finpool.gateway.request.messages import drop_fields_of_other_roles
from finpool.gateway.request.options import RequestModel
from finpool.kernel.body_bounds import require_few_fields, require_few_values, separators
from finpool.kernel.ids import TenantId
from finpool.kernel.strict_json import bracketed, parse_strictly

Request = TypeVar("Request", bound=RequestModel)
Parsed = TypeVar("Parsed")

LARGE_BYTES_MIN = 32_768
"""A larger body is parsed in a thread: in a few hundred milliseconds no other request would go on."""

LARGE_BYTES_WITH_SCHEMAS_MIN = 4_096
"""The same for a body that may have JSON schemas, which take longer to check."""

FIELDS_MAX = 1_024
SCHEMA_FIELDS_MAX = 4_096
"""Fields of an object in a tool or a format; a schema may have thousands of definitions."""

_WITH_SCHEMAS = ("tools", "response_format")
_SCHEMA_FIELDS = (b'"parameters"', b'"response_format"')
_LARGE_BODIES = LargeBodies()

_ESCAPED_COLON = re.compile(rb"\\u003[aA]")


async def parsed(tenant: TenantId, body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Parse a tenant's body with `parse`, and raise its errors; other requests go on while a large one is parsed."""
    if is_large(body):
        return await _LARGE_BODIES.parsed(tenant, body, parse)
    return parse(body)


def is_large(body: bytes) -> bool:
    """Tell whether a body is too large to be parsed on the event loop; a field that is written as an escape counts."""
    if len(body) < LARGE_BYTES_WITH_SCHEMAS_MIN:
        return False
    return len(body) >= LARGE_BYTES_MIN or b"\\u" in body or any(field in body for field in _SCHEMA_FIELDS)


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
    is_short = len(body) <= FIELDS_MAX  # Then it has few fields and values.
    if not is_short:
        require_few_values(body, VALUES_MAX)
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    if not is_short and separators(body) > FIELDS_MAX:
        schemas = {name: document[name] for name in _WITH_SCHEMAS if name in document}
        require_few_fields(schemas, SCHEMA_FIELDS_MAX)
        require_few_fields({name: each for name, each in document.items() if name not in schemas}, FIELDS_MAX)
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
