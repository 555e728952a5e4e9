"""The answer of Serve's fallback proxy for a cold engine; HAProxy uses this proxy only if no engine replica exists.

Without this middleware every such request, health probes included, would start a replica and wait for it.
"""

import asyncio
import contextlib

import orjson
import ray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finpool.serving.errors import ModelCold
from finpool.serving.schemas import COLD_START_HEADER

WAKE_SECONDS_MAX = 1800.0
"""How long one refused request keeps Serve scaling up: the largest models load for minutes."""

_ENGINE_SEGMENTS = 4
"""The parts of `/engines/MODEL/VERSION` when split at slashes, including the empty first one."""


class ColdStartMiddleware:
    """The ASGI middleware that answers for cold engines according to `COLD_START_HEADER`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waking: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to Serve, which starts a replica and then answers; or refuse it with `ModelCold`."""
        action = _cold_start_action(scope)
        if action is None:
            await self._app(scope, receive, send)
            return
        if action == "refuse":
            self._wake(scope)
        error = ModelCold()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(error.body())})

    def _wake(self, scope: Scope) -> None:
        """Request the engine's health once, if no such request runs: Serve starts an engine replica for any request."""
        engine_path = "/".join(scope["path"].split("/")[:_ENGINE_SEGMENTS])
        if engine_path not in self._waking:
            task = asyncio.create_task(self._ask(scope, f"{engine_path}/health"))
            self._waking[engine_path] = task
            task.add_done_callback(lambda _: self._waking.pop(engine_path))

    async def _ask(self, scope: Scope, path: str) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name in (b"host", b"authorization")]
        inner = {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers, "state": {}}
        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if unread:
                return unread.pop()
            await asyncio.Future()  # Report no disconnect until the answer is complete.
            raise AssertionError

        async def send(message: Message) -> None:
            """Discard the answer."""

        with contextlib.suppress(Exception):  # The next refused request tries again.
            async with asyncio.timeout(WAKE_SECONDS_MAX):
                await self._app(inner, receive, send)


def _cold_start_action(scope: Scope) -> str | None:
    if scope["type"] != "http":
        return None
    wanted = COLD_START_HEADER.encode()
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def stands_in_for_engines() -> bool:
    """Tell whether this process is Serve's fallback proxy, to which HAProxy sends requests without a replica."""
    name: str | None = ray.get_runtime_context().get_actor_name()
    return name is not None and "SERVE_PROXY_ACTOR-fallback-" in name
