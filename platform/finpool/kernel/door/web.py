"""The parts that the routes of every door share: authorization, strict queries and strict JSON bodies."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import NoneType
from typing import Annotated, Any, Protocol, get_args, get_origin

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from finpool.kernel.actor import Actor
from finpool.kernel.database.database import Database
from finpool.kernel.door.headers import bearer, idempotency_key, require_json, require_own_organization
from finpool.kernel.door.openapi import SAFE_METHODS, SECURED, serves_idempotency_keys
from finpool.kernel.door.query import QueryRules
from finpool.kernel.door.seats import DoorSeats, FairSeats, caller_of
from finpool.kernel.door.transactions import gives_back, lent
from finpool.kernel.errors import IdempotencyUnsupported
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.kernel.paging import PageQuery
from finpool.kernel.strict_json import parse_bounded

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


def requires(permission: str) -> Callable[[Request], Awaitable[Actor]]:
    """Return the dependency that guards a route; the route x role test reads its `permission`."""

    async def guard(request: Request) -> Actor:
        state = request.scope["state"]
        if state.get("permitted") == permission:
            admitted: Actor = state["actor"]
            return admitted
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        actor = state["actor"] = await gatekeeper.authenticate(bearer(request.scope))
        require_own_organization(request.scope, actor)
        gatekeeper.authorize(actor, permission)
        state["permitted"] = permission
        return actor

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


class DoorRequest(Request):
    """A request whose JSON body must not repeat a field."""

    async def json(self) -> Any:
        """Return the parsed body; raise `InvalidRequest` for too many values, or a field that an object repeats."""
        if not hasattr(self, "_json"):
            self._json = parse_bounded(await self.body())
        return self._json


class DoorRoute(APIRoute):
    """A route that authenticates its caller, then checks the query and the headers, and only then reads the body.

    It refuses unknown query parameters and an `Idempotency-Key`; FastAPI would ignore both and read the body first.
    At a door with seats the caller takes one once its body has arrived, and has it until the answer is computed.
    """

    makes_documents = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(path, gives_back(endpoint), **kwargs)
        if guards_of(self.dependant):
            self.openapi_extra = {**(self.openapi_extra or {}), **SECURED}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler; a route without a body and without a query keeps FastAPI's own order."""
        handler = super().get_route_handler()
        guards, rules, has_body = guards_of(self.dependant), query_rules(self.dependant), self.body_field is not None
        refuses_key = self.refuses_idempotency_key()

        async def guarded(request: Request) -> Response:
            query = request.scope["query_string"]
            has_key = refuses_key and idempotency_key(request.scope) is not None
            seats = self._seats(request) if guards else None
            if query or has_body or has_key or seats:
                for guard in guards:
                    await guard(request)
                if has_key:
                    raise IdempotencyUnsupported
            if query or has_body or has_key:
                request = DoorRequest({**request.scope, "query_string": rules.checked(query)}, request.receive)
            if has_body:
                require_json(request.scope)
            if seats is None:
                return await handler(request)
            if has_body:
                await request.body()
            async with seats.seat(caller_of(request.state.actor)):
                return await handler(request)

        return guarded

    def _seats(self, request: Request) -> FairSeats | None:
        """Return the seats that this route's callers take at this door, or None at a door without seats."""
        seats: DoorSeats | None = getattr(request.app.state, "seats", None)
        if seats is None:
            return None
        return seats.documents if self.makes_documents else seats.requests

    def refuses_idempotency_key(self) -> bool:
        """Tell whether the route changes something and does not declare the header."""
        changes = not {method.lower() for method in self.methods} <= SAFE_METHODS
        return changes and not serves_idempotency_keys(self.openapi_extra)


class DocumentRoute(DoorRoute):
    """A route that makes a file for seconds, in a process of its own; fewer of them run at a time."""

    makes_documents = True


def query_rules(dependant: Dependant) -> QueryRules:
    """Return the rules for the query parameters that a route declares, one by one or as one model.

    A model's `NOT_SERVED` names the parameters that OpenAI's clients can send, and why they are refused.
    """
    annotations: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for field in get_flat_dependant(dependant).query_params:
        declared = field.field_info.annotation
        if isinstance(declared, type) and issubclass(declared, BaseModel):
            annotations |= {each.alias or name: each.annotation for name, each in declared.model_fields.items()}
            refused |= getattr(declared, "NOT_SERVED", {})
        else:
            annotations[field.alias] = declared
    is_list = {name: _takes_a_list(each) for name, each in annotations.items()}
    return QueryRules(is_list, refused, [name for name, each in annotations.items() if _is_whole_number(each)])


def _takes_a_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_takes_a_list(each) for each in get_args(annotation))


def _is_whole_number(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_whole_number(get_args(annotation)[0])
    parts = set(get_args(annotation)) - {NoneType}
    return annotation is int or (bool(parts) and all(map(_is_whole_number, parts)))


def guards_of(dependant: Dependant) -> list[Callable[[Request], Awaitable[Actor]]]:
    """Return the guards (`requires`) that a route declares."""
    own = [dependant.call] if dependant.call is not None and hasattr(dependant.call, "permission") else []
    return own + [guard for each in dependant.dependencies for guard in guards_of(each)]


async def _tenant_session(request: Request) -> AsyncIterator[AsyncSession]:
    actor: Actor = request.state.actor
    database: Database = request.app.state.database
    async with lent(_connection(request), database.for_tenant(actor.tenant)) as session:
        yield session


async def _sector_session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with lent(_connection(request), database.across_tenants()) as session:
        yield session


def _connection(request: Request) -> AbstractAsyncContextManager[None]:
    seats: DoorSeats = request.app.state.seats
    return seats.connections.seat(caller_of(request.state.actor))


TenantSession = Annotated[AsyncSession, Depends(_tenant_session, scope="function")]
"""A transaction over the rows of the actor's tenant; declare the actor (`requires`) before it.

It commits once the route's function has returned, before the answer is serialised and sent. So a failed commit gives an
error and never a 200, and no connection waits for a computation. `give_back` commits it earlier.
"""

SectorSession = Annotated[AsyncSession, Depends(_sector_session, scope="function")]
"""A transaction over all tenants, for the operator and regulator APIs; it ends as a `TenantSession` does."""
