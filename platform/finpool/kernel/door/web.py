"""The parts that the routes of every door share: authorization, strict JSON bodies, and one shape of errors."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from finpool.kernel.actor import Actor
from finpool.kernel.database.database import Database
from finpool.kernel.door.ingress import Ingress
from finpool.kernel.door.openapi import SECURED, complete
from finpool.kernel.errors import (
    DomainError,
    InvalidRequest,
    MethodNotAllowed,
    MismatchedOrganization,
    RouteNotFound,
    Unavailable,
)
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.kernel.logs import logger
from finpool.kernel.paging import PageQuery
from finpool.kernel.version import VERSION

_log = logger("kernel.web")

TenantPath = Annotated[TenantId, Path(pattern=SLUG_PATTERN)]
"""The tenant in a path of the operator API."""

Page = Annotated[PageQuery, Query()]
"""The requested page of a list."""


class Gatekeeper(Protocol):
    """Authentication and authorization, as the app wires them: identity builds the actor, policy authorizes it."""

    async def authenticate(self, credential: str) -> Actor:
        """Return the actor of a bearer credential; raise `Unauthenticated` if the credential is unknown."""

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy in force grants the actor this permission."""


def bearer(request: Request) -> str:
    """Return the bearer credential, or an empty string, which equals no credential."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def requires(permission: str) -> Callable[[Request], Awaitable[Actor]]:
    """Return the dependency that guards a route; the route x role test reads its `permission`."""

    async def guard(request: Request) -> Actor:
        if getattr(request.state, "permitted", None) == permission:
            admitted: Actor = request.state.actor
            return admitted
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        actor = request.state.actor = await gatekeeper.authenticate(bearer(request))
        _require_own_organization(request, actor)
        gatekeeper.authorize(actor, permission)
        request.state.permitted = permission
        return actor

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


class DoorRequest(Request):
    """A request whose JSON body must not repeat a field."""

    async def json(self) -> Any:
        """Return the parsed body; raise `InvalidRequest` if an object repeats a field."""
        if not hasattr(self, "_json"):
            self._json = json.loads(await self.body(), object_pairs_hook=_without_duplicates)
        return self._json


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise InvalidRequest("The body names a field twice.", param=name)
        fields[name] = value
    return fields


class DoorRoute(APIRoute):
    """A route that authenticates its caller before it reads the body; FastAPI would read the body first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if guards_of(self.dependant):
            self.openapi_extra = {**(self.openapi_extra or {}), **SECURED}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler; a route without a body keeps FastAPI's own handler."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        guards = guards_of(self.dependant)

        async def guarded(request: Request) -> Response:
            for guard in guards:
                await guard(request)
            return await handler(DoorRequest(request.scope, request.receive))

        return guarded


def guards_of(dependant: Dependant) -> list[Callable[[Request], Awaitable[Actor]]]:
    """Return the guards (`requires`) that a route declares."""
    own = [dependant.call] if dependant.call is not None and hasattr(dependant.call, "permission") else []
    return own + [guard for each in dependant.dependencies for guard in guards_of(each)]


def _require_own_organization(request: Request, actor: Actor) -> None:
    """Refuse OpenAI headers that name another tenant or project: ignoring them would mislead the client."""
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
"""A transaction over the rows of the actor's tenant; declare the actor (`requires`) before it.

`scope="function"` commits before the response is sent, so a failed commit gives an error and never a 200.
"""

SectorSession = Annotated[AsyncSession, Depends(_sector_session, scope="function")]
"""A transaction over all tenants, for the operator and regulator APIs; it commits before the response is sent."""


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
    return where, str(item["msg"])


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only.
    if isinstance(error.__cause__, DomainError):
        # FastAPI turns every exception of a body read into a 400 of its own; answer with the domain error instead.
        return _refusal(request, error.__cause__)
    if error.status_code == 404:
        return _refusal(request, RouteNotFound(f"Unknown request URL: {request.method} {request.url.path}."))
    if error.status_code == 405:
        return _refusal(request, MethodNotAllowed(f"{request.method} is not allowed here.", headers=error.headers))
    if error.status_code == 400:
        return _refusal(request, InvalidRequest("The body could not be read."))
    family = InvalidRequest if error.status_code < 500 else DomainError
    request.state.error_code = family.code
    return JSONResponse(family(error.detail).body(), status_code=error.status_code, headers=error.headers)


async def _on_client_gone(request: Request, _: Exception) -> Response:
    return _refusal(request, InvalidRequest("The client left before its request had arrived."))


async def _on_database_error(request: Request, error: Exception) -> Response:
    _log.error("the database failed", path=request.url.path, exc_info=error)
    return _refusal(request, Unavailable("The platform's database cannot be reached; nothing was done."))


class Door(FastAPI):
    """An app whose API document names every error; `gate` are the gatekeeper's errors, on routes with a permission."""

    gate: Sequence[type[DomainError]] = ()

    def openapi(self) -> dict[str, Any]:
        """Return the API document, which is built once."""
        if self.openapi_schema is None:
            complete(super().openapi(), self.gate, self.openapi_url)
        return super().openapi()


def new_door(
    name: str,
    *,
    body_bytes_max: int,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    gate: Sequence[type[DomainError]],
    openapi_url: str | None = "/openapi.json",
) -> FastAPI:
    """Return an app with the parts of every door: request ids, a body limit, one shape of errors, and logs.

    The API description is public, as the code is. The documentation pages load scripts from elsewhere, so they are off.
    """
    app = Door(
        title=f"FinPool {name} API",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=openapi_url,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    app.gate = gate
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(InterfaceError, _on_database_error)
    app.add_exception_handler(OSError, _on_database_error)
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    app.add_middleware(Ingress, door=name, body_bytes_max=body_bytes_max)
    return app
