"""The app of a door: one shape of errors, the API document, and the ingress around all."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from finpool.kernel.door.direct import DirectPath, DirectRoute
from finpool.kernel.door.ingress import Ingress
from finpool.kernel.door.openapi import complete
from finpool.kernel.door.unknown_url import SearchBudget, unknown_url
from finpool.kernel.door.web import DoorRoute
from finpool.kernel.errors import (
    DomainError,
    InvalidRequest,
    MethodNotAllowed,
    QueryTooLong,
    Unavailable,
)
from finpool.kernel.faults import words_of
from finpool.kernel.logs import logger
from finpool.kernel.version import VERSION

DOCUMENT_PATH = "/openapi.json"
_STATEMENT_TIMEOUT = "57014"
_LOCK_TIMEOUT = "55P03"
EVERY_PATH = "*"
"""The target of `OPTIONS *`, which asks about the server and not about a path."""

METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_log = logger("kernel.door")


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)  # noqa: S101 - registered for this class only.
    return _refusal(request, error)


def _refusal(request: Request, error: DomainError) -> Response:
    request.state.error_code = error.code
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only.
    if error.errors()[0]["type"] == "json_invalid":
        return _refusal(request, InvalidRequest("The body is not valid JSON."))
    problems = [_problem(item) for item in error.errors()]
    param = problems[0][0]
    message = "; ".join(f"{where}: {what}" for where, what in problems)
    return _refusal(request, InvalidRequest(message, param=param))


def _problem(item: dict[str, Any]) -> tuple[str, str]:
    where = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    return where, words_of(item)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only.
    if isinstance(error.__cause__, DomainError):
        # FastAPI turns every exception of a body read into a 400 of its own; answer with the domain error instead.
        return _refusal(request, error.__cause__)
    if error.status_code == 404:
        if request.method == "OPTIONS" and request.scope["path"] == EVERY_PATH:
            return Response(status_code=204, headers={"allow": METHODS})
        app: Door = request.app
        served = {each.path for each in app.routes if isinstance(each, Route)}
        refusal = unknown_url(request.method, request.scope["path"], served, app.absent, app.searches)
        return _refusal(request, refusal)
    if error.status_code == 405:
        allowed = _methods_of_path(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": allowed})
        message = f"{request.method} is not allowed here; this path takes {allowed}."
        return _refusal(request, MethodNotAllowed(message, headers={"allow": allowed}))
    if error.status_code == 400:
        return _refusal(request, InvalidRequest("The body could not be read."))
    family = InvalidRequest if error.status_code < 500 else DomainError
    request.state.error_code = family.code
    return JSONResponse(family(error.detail).body(), status_code=error.status_code, headers=error.headers)


def _methods_of_path(request: Request) -> str:
    """Return the methods of all routes with this path; the router reports those of the first only."""
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


async def _on_client_gone(request: Request, _: Exception) -> Response:
    return _refusal(request, InvalidRequest("The client left before its request had arrived."))


async def _on_database_error(request: Request, error: Exception) -> Response:
    _log.error("the database failed", path=request.url.path, exc_info=error)
    return _refusal(request, Unavailable("The platform's database cannot be reached; nothing was done."))


async def _on_refused_statement(request: Request, error: Exception) -> Response:
    """Answer for a statement that the database ended at a time limit; any other is a fault of the platform."""
    assert isinstance(error, DBAPIError)  # noqa: S101 - registered for this class only.
    state = getattr(error.orig, "sqlstate", None)
    if state not in (_STATEMENT_TIMEOUT, _LOCK_TIMEOUT):
        raise error
    _log.warning("the database ended a statement at its time limit", path=request.url.path, sqlstate=state)
    if state == _LOCK_TIMEOUT:
        return _refusal(request, Unavailable("The same rows are being changed; nothing was done. Try again."))
    return _refusal(request, QueryTooLong())


async def _on_full_pool(request: Request, _: Exception) -> Response:
    _log.warning("no connection of the pool became free", path=request.url.path)
    return _refusal(request, Unavailable("Every database connection of this door is busy. Try again shortly."))


class Door(FastAPI):
    """An app whose API document names every error; `gate` are the gatekeeper's errors, on routes with a permission.

    `absent` are beginnings of paths that its clients know from elsewhere, with the reason why it has none of them.
    `searches` bounds the search for paths near an unknown one.
    """

    gate: Sequence[type[DomainError]] = ()
    absent: Mapping[str, str] = {}
    searches: SearchBudget
    document: asyncio.Future[bytes] | None = None
    ingress: Callable[[ASGIApp], Ingress]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._direct: dict[tuple[str, str], Ingress] = {}
        self.cross_origin = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a direct route at once, and everything else through the framework.

        A browser's request from another origin needs the headers that a middleware of the framework adds.
        """
        if scope["type"] == "http":
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is not None and not (self.cross_origin and _names_an_origin(scope)):
                await direct(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def serve_directly(self) -> None:
        """Serve the direct routes that the app has by now ahead of the framework, each behind an ingress."""
        for route in self.routes:
            if isinstance(route, DirectRoute):
                ingress = self.ingress(DirectPath(self, route))
                self._direct.update({(method, route.path): ingress for method in route.methods})

    def openapi(self) -> dict[str, Any]:
        """Return the API document, which is built once."""
        if self.openapi_schema is None:
            complete(super().openapi(), self.gate)
        return super().openapi()

    async def written_document(self) -> bytes:
        """Return the API document as JSON, which a thread builds and writes once: it takes hundreds of milliseconds."""
        if self.document is None:
            self.document = asyncio.ensure_future(asyncio.to_thread(lambda: bytes(JSONResponse(self.openapi()).body)))
        return await asyncio.shield(self.document)


def _names_an_origin(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])


def new_door(
    name: str,
    *,
    body_bytes_max: int,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    gate: Sequence[type[DomainError]],
    absent: Mapping[str, str] | None = None,
    described: bool = True,
) -> Door:
    """Return an app with the parts of every door: request ids, a body limit, one shape of errors, and logs.

    `described` adds the route of the API document. It is public, as the code is. The documentation pages load scripts
    from elsewhere, so they are off.
    """
    app = Door(
        title=f"FinPool {name} API",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    app.gate = gate
    app.absent = absent or {}
    app.searches = SearchBudget()
    app.ingress = partial(Ingress, door=name, body_bytes_max=body_bytes_max)
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(InterfaceError, _on_database_error)
    app.add_exception_handler(OSError, _on_database_error)
    app.add_exception_handler(DBAPIError, _on_refused_statement)
    app.add_exception_handler(PoolTimeout, _on_full_pool)
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    app.add_middleware(Ingress, door=name, body_bytes_max=body_bytes_max)
    if described:
        app.include_router(_description_of(app))
    return app


def _description_of(app: Door) -> APIRouter:
    router = APIRouter(tags=["description"], route_class=DoorRoute)

    @router.get(DOCUMENT_PATH, response_model=dict[str, Any])
    async def describe_api() -> Response:
        """Return the OpenAPI document of this API."""
        return Response(await app.written_document(), media_type="application/json")

    return router
