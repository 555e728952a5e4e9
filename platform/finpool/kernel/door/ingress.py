"""The first step of every request at every door: assign an id, limit the body, log a refusal."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from finpool.kernel.errors import BodyTooLarge, DomainError, InternalError, RepeatedHeader
from finpool.kernel.ids import new_id, well_formed_request_id
from finpool.kernel.log_samples import OTHER, LogSamples, Reason
from finpool.kernel.logs import logger, request_ids

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PATH_LENGTH_MAX = 200
LINES_OF_STRANGERS = 10
"""Refusals of one status and code that get a line of their own in a minute, if their sender is not known."""

LINES_OF_A_TENANT = 100
"""The same for each tenant, operators and regulators."""

ONCE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"openai-organization",
        b"openai-project",
    }
)
"""Headers that decide about a request. A second one could mean another thing to a proxy in front of the platform."""

_NEEDED = ONCE | {b"content-length", b"transfer-encoding", b"x-request-id"}
_RETRY_COUNT = re.compile(rb"^[0-9]{1,4}$")
_log = logger("kernel.ingress")


class Ingress:
    """The outermost ASGI middleware of a door.

    `scope["state"]["request_id"]` holds the platform's own id of the request. The response carries it as
    `x-request-id`, or the client's id instead if that is well formed. Every log line of the request carries both ids.
    """

    def __init__(self, app: App, door: str, body_bytes_max: int) -> None:
        self._app = app
        self._door = door
        self._body_bytes_max = body_bytes_max
        self._samples = LogSamples(self._log_sum)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; answer an unhandled exception with a 500 that carries the request id."""
        if scope["type"] != "http":
            try:
                await self._app(scope, receive, send)
            finally:
                self._samples.end()
            return
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = new_id("req")
        headers, repeated = _read(scope)
        state["headers"] = headers
        of_client = well_formed_request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        ids = {"request_id": request_id, "client_request_id": of_client}
        header = (b"x-request-id", (of_client or request_id).encode())
        started = False
        without_body = scope["method"] == "HEAD"
        if without_body:
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message.setdefault("headers", []).append(header)
                if message["status"] >= 400:
                    self._log_refusal(scope, message["status"], ids)
            elif without_body:
                message["body"] = b""
            await send(message)

        of_others = request_ids.set(ids)
        try:
            if repeated is not None:
                shown = repeated.decode("ascii")
                raise RepeatedHeader(f"The header '{shown}' is given more than once; give it once.", param=shown)
            await self._app(scope, self._bounded(headers, receive), send_with_id)
        except (BodyTooLarge, RepeatedHeader) as error:
            await send_error(scope, error, send_with_id)
        except Exception as error:
            if self._samples.take((500, type(error).__name__, None), LINES_OF_STRANGERS):
                _log.exception("unhandled exception", path=_path(scope), **ids)
            if started:
                raise
            await send_error(scope, InternalError("The platform failed to answer this request."), send_with_id)
        finally:
            request_ids.reset(of_others)

    def _bounded(self, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """Return `receive` with a limit on the body; raise `BodyTooLarge` at once for a larger `content-length`.

        The server enforces a declared `content-length`, so only a chunked body is counted here.
        """
        declared = headers.get(b"content-length")
        if declared and not (declared.isdigit() and int(declared) <= self._body_bytes_max):
            raise BodyTooLarge(self._body_bytes_max)
        if not headers.get(b"transfer-encoding"):
            return receive
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes_max:
                raise BodyTooLarge(self._body_bytes_max)
            return message

        return counted

    def _log_refusal(self, scope: Message, status: int, ids: dict[str, str | None]) -> None:
        """Log one refused request with its actor and error code, without body or credential; of many only a sum."""
        state = scope["state"]
        actor = state.get("actor")
        reason = (status, state.get("error_code"), actor.tenant_id if actor else None)
        if not self._samples.take(reason, LINES_OF_A_TENANT if actor else LINES_OF_STRANGERS):
            return
        retry_count = _header(scope, b"x-stainless-retry-count")
        _log.info(
            "request refused",
            door=self._door,
            method=scope["method"],
            path=_path(scope),
            status=status,
            code=state.get("error_code"),
            tenant_id=actor.tenant_id if actor else None,
            **ids,
            retry_count=int(retry_count) if _RETRY_COUNT.fullmatch(retry_count) else None,
        )

    def _log_sum(self, reason: Reason, count: int) -> None:
        status, code, tenant_id = reason if reason != OTHER else (None, "other", None)
        _log.info("more requests refused", door=self._door, status=status, code=code, tenant_id=tenant_id, count=count)


async def send_error(scope: Message, error: DomainError, send: Send) -> None:
    """Send a domain error as an HTTP response, for errors outside the framework."""
    scope["state"]["error_code"] = error.code
    body = json.dumps(error.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _read(scope: Message) -> tuple[dict[bytes, bytes], bytes | None]:
    """Return the first value of each header that every request needs, and a header of `ONCE` that is repeated."""
    found: dict[bytes, bytes] = {}
    repeated = None
    for name, value in scope["headers"]:
        if name in _NEEDED:
            if name not in found:
                found[name] = value
            elif name in ONCE:
                repeated = name
    return found, repeated


def _header(scope: Message, wanted: bytes) -> bytes:
    for name, value in scope["headers"]:
        if name == wanted:
            found: bytes = value
            return found
    return b""


def _path(scope: Message) -> str:
    """Return the route's template, or the requested path if no route matched; at most `PATH_LENGTH_MAX` characters."""
    route = scope.get("route")
    path: str = getattr(route, "path", None) or scope["path"]
    return path[:PATH_LENGTH_MAX]
