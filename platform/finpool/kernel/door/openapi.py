"""The OpenAPI document of a door: FastAPI's description of the routes, with their errors and raw bodies added."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel

from finpool.kernel.answer_headers import HEADERS, REQUEST_ID, REQUEST_ID_IF_ARRIVED, described
from finpool.kernel.errors import (
    BodyTooLarge,
    DomainError,
    HeadersTooLarge,
    IdempotencyUnsupported,
    InternalError,
    InvalidRequest,
    RepeatedHeader,
    RepeatedQueryParameter,
    RequestTooSlow,
    TooManyConnections,
    Unavailable,
    UnknownQueryParameter,
    UnsupportedContentEncoding,
    UnsupportedContentType,
)

Document = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]
"""The type of FastAPI's `responses` of a route."""

EVERY_ROUTE: tuple[type[DomainError], ...] = (
    InvalidRequest,
    UnknownQueryParameter,
    RepeatedQueryParameter,
    RepeatedHeader,
    RequestTooSlow,
    BodyTooLarge,
    HeadersTooLarge,
    TooManyConnections,
    InternalError,
    Unavailable,
)
"""The errors of any request: those of the server, the ingress and the exception handlers."""

OF_THE_SERVER = (InvalidRequest, RequestTooSlow, HeadersTooLarge, TooManyConnections, Unavailable)
"""The errors that the HTTP server itself may answer, before the request has an id."""

SAFE_METHODS = frozenset({"get", "head", "options"})
"""The methods that change nothing, so a key adds nothing to them."""

BODY_ERRORS: tuple[type[DomainError], ...] = (UnsupportedContentType, UnsupportedContentEncoding)
"""The errors of any request with a body."""

SECURITY_SCHEME = "key"
SECURED: Document = {"security": [{SECURITY_SCHEME: []}]}
"""The part of an operation that requires a credential."""

IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENT: Document = {
    "parameters": [
        {
            "name": IDEMPOTENCY_KEY,
            "in": "header",
            "required": False,
            "description": "For 24 hours the same request with the same key gets the same answer, and is paid once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        }
    ]
}
"""The part of an operation that serves the header; any other one that changes something refuses it."""

_SCHEMAS = "#/components/schemas/"
_CODES = "x-codes"
_HEADERS = "headers"
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_ABOUT = (
    "Every error is an `ErrorView`. A path that does not exist gives 404 `unknown_url`, another method of a path"
    " 405 `method_not_allowed`. Every answer to a request that arrived whole carries an id as `x-request-id`."
    " HEAD answers as GET without the body, and OPTIONS names the methods of a path."
    " An integer is written without a fraction: 2, not 2.0."
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
        response = found.setdefault(error.status, {_CODES: {}, _HEADERS: {}})
        response[_HEADERS] |= described(error.header_names)
        for code, meaning in error.meanings().items():
            response[_CODES].setdefault(code, []).append(meaning)
    return found


def answer_headers(*names: str) -> Document:
    """Return the part of a route's 200 that describes its headers; that of the request's id is added later."""
    return {_HEADERS: described(names)}


def json_body(model: type[BaseModel]) -> Document:
    """Return the `openapi_extra` of a route that parses its JSON body itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inline(model)}}}}


def serves_idempotency_keys(openapi_extra: Document | None) -> bool:
    """Tell whether a route declares the header `Idempotency-Key`, as `IDEMPOTENT` does."""
    return any(each["name"] == IDEMPOTENCY_KEY for each in (openapi_extra or {}).get("parameters", ()))


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
    for method, operation in _methods(document):
        _add_errors(method, operation, gate, shared)
        for status, response in operation["responses"].items():
            if status < "400":
                response[_HEADERS] = {**response.get(_HEADERS, {}), **described([REQUEST_ID])}
    document["components"]["headers"] = _used_headers(document)
    schemas.update(_inline(ErrorView)["$defs"])
    _hoist(document, schemas)
    _write_whole_bounds(document)
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _used_headers(document: Document) -> Document:
    """Return the descriptions of the headers that the answers of this door name."""
    answers = [each for operation in _operations(document) for each in operation["responses"].values()]
    answers += document["components"]["responses"].values()
    names = {each["$ref"].rpartition("/")[2] for answer in answers for each in answer.get(_HEADERS, {}).values()}
    return {name: HEADERS[name] for name in sorted(names)}


def _operations(document: Document) -> Iterator[Document]:
    return (operation for _, operation in _methods(document))


def _methods(document: Document) -> Iterator[tuple[str, Document]]:
    for path in document["paths"].values():
        yield from path.items()


def _add_errors(method: str, operation: Document, gate: Iterable[type[DomainError]], shared: Document) -> None:
    """Document each error status of an operation; statuses common to many operations are written once, in `shared`.

    A 422 without a code of the platform is FastAPI's own refusal, which no door sends.
    """
    responses = operation["responses"]
    if _CODES not in responses.get("422", {}):
        responses.pop("422", None)
    of_body = BODY_ERRORS if "requestBody" in operation else ()
    guarded = "security" in operation
    refuses_key = method not in SAFE_METHODS and not serves_idempotency_keys(operation)
    of_key = (IdempotencyUnsupported,) if refuses_key else ()
    prefix, errors = ("Guarded" if guarded else "Open"), (*EVERY_ROUTE, *of_body, *of_key, *(gate if guarded else ()))
    common = {str(status): response for status, response in refusals(*errors).items()}
    own = {status: responses.pop(status) for status in list(responses) if _CODES in responses[status]}
    for status in sorted(common.keys() | own):
        if status in own:
            responses[status] = _error_response(status, own[status], common.get(status, {}))
        else:
            with_key = refuses_key and int(status) == IdempotencyUnsupported.status
            name = f"{prefix}{status}" + ("OfAChange" if with_key else "")
            shared[name] = _error_response(status, {}, common[status])
            responses[status] = {"$ref": f"#/components/responses/{name}"}


def _error_response(status: str, own: Document, common: Document) -> Document:
    mine, others = own.get(_CODES, {}), common.get(_CODES, {})
    meanings = {code: [*mine.get(code, []), *others.get(code, [])] for code in sorted(mine.keys() | others)}
    lines = [f"- `{code}`: {' '.join(dict.fromkeys(sentences))}" for code, sentences in meanings.items()]
    codes = {"properties": {"error": {"properties": {"code": {"enum": list(meanings)}}}}}
    schema = {"$ref": f"{_SCHEMAS}ErrorView", **codes}
    by_the_server = int(status) in {error.status for error in OF_THE_SERVER}
    request_id = described([REQUEST_ID_IF_ARRIVED if by_the_server else REQUEST_ID])
    headers = {**own.get(_HEADERS, {}), **common.get(_HEADERS, {}), **request_id}
    content = {"application/json": {"schema": schema}}
    return {"description": "\n".join(lines), _HEADERS: headers, "content": content}


def _write_whole_bounds(part: Any) -> None:
    """Write whole bounds as integers: FastAPI's are floats, and a large one would be another number as text."""
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _write_whole_bounds(each)
    if isinstance(part, dict):
        for name in _BOUNDS & part.keys():
            if isinstance(part[name], float) and part[name].is_integer():
                part[name] = int(part[name])


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
