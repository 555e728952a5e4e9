"""The check of the engine token on every port that Serve opens on an engine replica."""

import hmac
import ipaddress

import ray
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from finpool.kernel.settings import Settings
from finpool.serving.engine.routes_cold import ColdStartMiddleware, stands_in_for_engines

HEALTH_PROBE_PATH = "/-/healthz"
_UNAUTHORIZED_BODY = b'{"error":{}}'


class TokenGuard:
    """The ASGI middleware that answers 401 to a request without the token, on any path and protocol."""

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app = app
        self._expected = b"Bearer " + token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before its body is read."""
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _UNAUTHORIZED_BODY})

    def _admits(self, scope: Scope) -> bool:
        presented = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(presented, self._expected)


class PortGuard(TokenGuard):
    """The guard of a whole port of an engine replica, which also serves Serve's own paths.

    Serve's HAProxy probes `/-/healthz` without a token. On one machine the probe comes over loopback. In a cluster
    (`probes_come_from_other_nodes`) it comes from any node, and the network policy limits the senders.
    """

    def __init__(self, app: ASGIApp, token: bytes, probes_come_from_other_nodes: bool) -> None:
        super().__init__(app, token)
        self._probes_come_from_other_nodes = probes_come_from_other_nodes

    def _admits(self, scope: Scope) -> bool:
        return self._is_health_probe(scope) or super()._admits(scope)

    def _is_health_probe(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] != HEALTH_PROBE_PATH:
            return False
        return self._probes_come_from_other_nodes or _is_loopback(scope.get("client"))


def port_guards() -> list[Middleware]:
    """Return the guards for each HTTP server of this Serve process; `pool_environment` names this function."""
    node_address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    guards = [
        Middleware(
            PortGuard,
            token=Settings().secret("engine_token"),
            probes_come_from_other_nodes=not _is_loopback((node_address, 0)),
        )
    ]
    # Starlette runs the last middleware of this list first, so a request without the token wakes no engine.
    return [Middleware(ColdStartMiddleware), *guards] if stands_in_for_engines() else guards


def _is_loopback(address: tuple[str, int] | None) -> bool:
    return address is not None and ipaddress.ip_address(address[0]).is_loopback
