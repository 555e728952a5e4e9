"""The OpenAPI document of a door: FastAPI's description of the routes, with their errors and raw bodies added."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel

from finpool.kernel.errors import (
    BodyTooLarge,
    DomainError,
    HeadTooLarge,
    InternalError,
    InvalidRequest,
    RepeatedQueryParameter,
    RequestTooSlow,
    Unavailable,
    UnknownQueryParameter,
)

Document = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]
"""The type of FastAPI's `responses` of a route."""

EVERY_ROUTE: tuple[type[DomainError], ...] = (
    InvalidRequest,
    UnknownQueryParameter,
    RepeatedQueryParameter,
    RequestTooSlow,
    BodyTooLarge,
    HeadTooLarge,
    InternalError,
    Unavailable,
)
"""The errors of any request: those of the server, the ingress and the exception handlers."""

SECURITY_SCHEME = "key"
SECURED: Document = {"security": [{SECURITY_SCHEME: []}]}
"""The part of an operation that requires a credential."""

_SCHEMAS = "#/components/schemas/"
_CODES = "x-codes"
_ABOUT = (
    "Every error is an `ErrorView`. A path that does not exist gives 404 `unknown_url`, another method of a path"
    " 405 `method_not_allowed`. Every answer to a request that arrived whole carries an id as `x-request-id`."
    " No route ignores a query parameter. A list in a query is written `name=a&name=b` or `name[]=a&name[]=b`."
)


class ErrorFields(BaseModel):
    """The fields of an error: `code` is stable, `param` names the wrong field, `message` is for people."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorView(BaseModel):
    """An error, in OpenAI's shape."""

    error: ErrorFields


def refusals(*errors: type[DomainError]) -> Responses:
    """Return the `responses` of a route for these errors; the errors of every route are added later."""
    found: Responses = {}
    for error in errors:
        meanings = found.setdefault(error.status, {_CODES: {}})[_CODES]
        for code, meaning in error.meanings().items():
            meanings.setdefault(code, []).append(meaning)
    return found


def json_body(model: type[BaseModel]) -> Document:
    """Return the `openapi_extra` of a route that parses its JSON body itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inline(model)}}}}


def event_stream(chunk: type[BaseModel], description: str) -> Document:
    """Return the content of an answer of server-sent events, each with a `chunk`."""
    schema = _inline(chunk, mode="serialization")
    return {"text/event-stream": {"schema": {**schema, "description": description}}}


def complete(document: Document, gate: Iterable[type[DomainError]]) -> None:
    """Add the parts that FastAPI leaves out of a door's document.

    These are each operation's errors, and the schemas of bodies that routes parse themselves.
    `gate` are the errors of the door's gatekeeper.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["info"]["description"] = _ABOUT
    document["components"]["securitySchemes"] = {SECURITY_SCHEME: {"type": "http", "scheme": "bearer"}}
    shared = document["components"].setdefault("responses", {})
    for operation in _operations(document):
        _add_errors(operation, gate, shared)
    schemas.update(_inline(ErrorView)["$defs"])
    _hoist(document, schemas)
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _operations(document: Document) -> Iterator[Document]:
    for path in document["paths"].values():
        yield from path.values()


def _add_errors(operation: Document, gate: Iterable[type[DomainError]], shared: Document) -> None:
    """Document each error status of an operation; statuses common to many operations are written once, in `shared`.

    422 is FastAPI's own refusal, which no door sends.
    """
    responses = operation["responses"]
    responses.pop("422", None)
    prefix, errors = ("Guarded", (*EVERY_ROUTE, *gate)) if "security" in operation else ("Open", EVERY_ROUTE)
    common = {str(status): response[_CODES] for status, response in refusals(*errors).items()}
    own = {status: responses.pop(status)[_CODES] for status in list(responses) if _CODES in responses[status]}
    for status in sorted(common.keys() | own):
        if status in own:
            responses[status] = _error_response(own[status], common.get(status, {}))
        else:
            shared[f"{prefix}{status}"] = _error_response({}, common[status])
            responses[status] = {"$ref": f"#/components/responses/{prefix}{status}"}


def _error_response(own: dict[str, list[str]], common: dict[str, list[str]]) -> Document:
    meanings = {code: [*own.get(code, []), *common.get(code, [])] for code in sorted(own.keys() | common)}
    lines = [f"- `{code}`: {' '.join(dict.fromkeys(sentences))}" for code, sentences in meanings.items()]
    codes = {"properties": {"error": {"properties": {"code": {"enum": list(meanings)}}}}}
    schema = {"$ref": f"{_SCHEMAS}ErrorView", **codes}
    return {"description": "\n".join(lines), "content": {"application/json": {"schema": schema}}}


def _inline(model: type[BaseModel], mode: Literal["validation", "serialization"] = "validation") -> Document:
    """Return a reference to the model's schema with all schemas that it needs; `_hoist` moves them out."""
    schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}", mode=mode)
    needed = schema.pop("$defs", {})
    return {"$ref": f"{_SCHEMAS}{model.__name__}", "$defs": {**needed, model.__name__: schema}}


def _hoist(part: Any, schemas: Document) -> None:
    """Move schemas beside a reference to the document's schemas; raise ValueError for two schemas of one name."""
    if isinstance(part, list):
        for each in part:
            _hoist(each, schemas)
    if not isinstance(part, dict):
        return
    for name, schema in part.pop("$defs", {}).items():
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas of this door are called {name}")
    for each in list(part.values()):
        _hoist(each, schemas)
