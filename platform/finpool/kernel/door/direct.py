"""Direct routes: their requests come neither through the framework's middlewares nor through its router.

A direct route reads its own body and writes its own answer. Everything else is as with other routes: the ingress stands
in front, the guard decides, and the door's handlers render its errors. The framework still describes the route.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from finpool.kernel.door.headers import idempotency_key
from finpool.kernel.door.web import DoorRoute, guards_of, query_rules
from finpool.kernel.errors import IdempotencyUnsupported

Answered = Callable[[Request], Coroutine[Any, Any, Response]]
"""Answers a request, or raises one of the errors that the door renders."""


class DirectRoute(DoorRoute):
    """A route that calls its endpoint with the request and the actor of its one guard."""

    answered: Answered

    def get_route_handler(self) -> Answered:
        """Return the handler; raise TypeError for an endpoint with parameters other than `(request, actor)`."""
        (guard,) = guards_of(self.dependant)
        if len(self.dependant.dependencies) != 1 or self.body_field is not None or self.dependant.query_params:
            raise TypeError(f"{self.path} takes more than the request and the actor")
        endpoint, rules = self.endpoint, query_rules(self.dependant)
        refuses_key = self.refuses_idempotency_key()

        async def answered(request: Request) -> Response:
            actor = await guard(request)
            if refuses_key and idempotency_key(request.scope) is not None:
                raise IdempotencyUnsupported
            if request.scope["query_string"]:
                rules.checked(request.scope["query_string"])
            answer: Response = await endpoint(request, actor)
            return answer

        self.answered = answered
        return answered


class DirectPath:
    """The ASGI app of one direct route, which stands directly behind the ingress."""

    def __init__(self, app: FastAPI, route: DirectRoute) -> None:
        self._app = app
        self._route = route
        self._answered = route.answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an error without a handler of the door is raised to the ingress."""
        scope["app"] = self._app
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            answer = await self._answered(request)
            await answer(scope, receive, send)
        except Exception as error:
            refusal = await self._rendered(request, error)
            await refusal(scope, receive, send)

    async def _rendered(self, request: Request, error: Exception) -> Response:
        for each in type(error).__mro__:
            handler = self._app.exception_handlers.get(each)
            if handler is not None:
                rendered: Response = await handler(request, error)  # type: ignore[misc]
                return rendered
        raise error
