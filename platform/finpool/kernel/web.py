"""What every door's routes share: who may call a route, how errors look, and the request's id."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finpool.kernel.actor import Actor
from finpool.kernel.database import Database
from finpool.kernel.errors import BodyTooLarge, DomainError, Forbidden, InvalidRequest, Unavailable
from finpool.kernel.ids import new_id, well_formed_request_id
from finpool.kernel.logs import logger

_log = logger("kernel.web")


class Gatekeeper(Protocol):
    """Wired by the app: identity makes the actor, policy judges it."""

    async def authenticate(self, credential: str) -> Actor:
        """Return the actor a bearer credential stands for, or raise `Unauthenticated`."""

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy in force lets the actor do this."""


class RouteNotFound(DomainError):
    """No such path."""

    status = 404
    code = "unknown_url"
    type = "invalid_request_error"


class MismatchedOrganization(Forbidden):
    """The client names another organization or project than its key belongs to."""

    code = "mismatched_organization"


class LengthRequired(InvalidRequest):
    """The request does not say how long its body is."""

    status = 411
    code = "length_required"


class MethodNotAllowed(DomainError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


def bearer(request: Request) -> str:
    """Return the bearer credential, or an empty string, which no credential equals."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def requires(permission: str) -> Callable[[Request], Awaitable[Actor]]:
    """Make the dependency that guards a route; the route x role test reads `permission` from it."""

    async def guard(request: Request) -> Actor:
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        actor = await gatekeeper.authenticate(bearer(request))
        _require_own_organization(request, actor)
        gatekeeper.authorize(actor, permission)
        request.state.actor = actor
        return actor

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


def _require_own_organization(request: Request, actor: Actor) -> None:
    """Refuse OpenAI's headers where they would be ignored, to the surprise of whoever sent them."""
    for header, own in (("openai-organization", actor.tenant_id), ("openai-project", actor.project_id)):
        if own is not None and request.headers.get(header, own) != own:
            raise MismatchedOrganization(f"The header {header} does not match the key.", param=header)


async def _tenant_session(request: Request) -> AsyncIterator[AsyncSession]:
    actor: Actor = request.state.actor
    database: Database = request.app.state.database
    async with database.for_tenant(actor.tenant) as session:
        yield session


async def _sector_session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.across_tenants() as session:
        yield session


TenantSession = Annotated[AsyncSession, Depends(_tenant_session, scope="function")]
"""A transaction that sees the actor's tenant; declare the actor (`requires`) before it.

`scope="function"` commits before the response is sent: a failing commit is an error, never a 200 that did not happen.
"""

SectorSession = Annotated[AsyncSession, Depends(_sector_session, scope="function")]
"""A transaction over all tenants, for the operators' and regulators' doors; it commits before the response is sent."""


def error_response(error: DomainError) -> JSONResponse:
    """Render a domain error; the only place that does."""
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _on_domain_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)  # noqa: S101 - registered for this class only.
    return error_response(error)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only.
    problems = [_problem(item) for item in error.errors()]
    param = problems[0][0]
    message = "; ".join(f"{where}: {what}" for where, what in problems)
    return error_response(InvalidRequest(message, param=param))


def _problem(item: dict[str, Any]) -> tuple[str, str]:
    where = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    return where, str(item["msg"])


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only.
    if error.status_code == 405:
        return error_response(MethodNotAllowed(f"{request.method} is not allowed here.", headers=error.headers))
    return error_response(RouteNotFound(f"Unknown request URL: {request.method} {request.url.path}."))


async def _on_defect(request: Request, error: Exception) -> Response:
    _log.error("unhandled exception", path=request.url.path, exc_info=error)
    return error_response(DomainError("The platform failed to answer this request."))


async def _on_database_error(request: Request, error: Exception) -> Response:
    _log.error("the database failed", path=request.url.path, exc_info=error)
    return error_response(Unavailable("The platform's database cannot be reached; nothing was done."))


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` leave in one shape."""
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(InterfaceError, _on_database_error)
    app.add_exception_handler(OSError, _on_database_error)
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)


class RequestIdMiddleware:
    """Gives each request an id, echoing the client's own when it is well formed, and answers with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; `scope["state"]["request_id"]` holds the id for the routes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = well_formed_request_id(sent.decode("latin-1")) or new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append(header)
            await send(message)

        await self._app(scope, receive, send_with_id)


class BodyLimitMiddleware:
    """Refuses a body over the limit by its declared length, before anything of it is read or anyone is asked."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a body without a declared length is refused too."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            declared = headers.get(b"content-length", b"0")
            error: InvalidRequest | None = None
            if b"transfer-encoding" in headers:
                error = LengthRequired("The request must declare the length of its body.")
            elif not declared.isdigit() or int(declared) > self._bytes_max:
                error = BodyTooLarge(self._bytes_max)
            if error is not None:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
