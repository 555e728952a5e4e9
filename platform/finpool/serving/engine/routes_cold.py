"""What Serve's own proxy answers for an engine that has no replica: HAProxy sends requests there only then.

Without this, every request that comes there, health probes included, would start a replica and wait for it.
"""

import asyncio
import contextlib

import orjson
import ray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finpool.serving.errors import ModelCold
from finpool.serving.schemas import COLD_START_HEADER

WAKE_SECONDS_MAX = 1800.0
"""How long Serve is kept wanting a replica for a request that was refused: the largest models load for minutes."""

_ENGINE_SEGMENTS = 4
"""Parts of `/engines/MODEL/VERSION` between its slashes, the empty one before the first included."""


class ColdStartDoor:
    """Answers for engines that sleep, as the request says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waking: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to Serve, which wakes the engine and then answers; or refuse it."""
        wish = _wish(scope)
        if wish is None:
            await self._app(scope, receive, send)
            return
        if wish == "refuse":
            self._wake(scope)
        error = ModelCold()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(error.body())})

    def _wake(self, scope: Scope) -> None:
        """Ask the engine for its health, unless that is under way: Serve starts a replica for whatever is asked."""
        engine_path = "/".join(scope["path"].split("/")[:_ENGINE_SEGMENTS])
        if engine_path not in self._waking:
            task = asyncio.create_task(self._ask(scope, f"{engine_path}/health"))
            self._waking[engine_path] = task
            task.add_done_callback(lambda _: self._waking.pop(engine_path))

    async def _ask(self, scope: Scope, path: str) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name in (b"host", b"authorization")]
        asked = {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers, "state": {}}
        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if unread:
                return unread.pop()
            await asyncio.Future()  # Nobody leaves before the answer is there.
            raise AssertionError

        async def send(message: Message) -> None:
            """Take the answer, which says nothing that anybody waits for."""

        with contextlib.suppress(Exception):  # The next request that is refused asks again.
            async with asyncio.timeout(WAKE_SECONDS_MAX):
                await self._app(asked, receive, send)


def _wish(scope: Scope) -> str | None:
    if scope["type"] != "http":
        return None
    wanted = COLD_START_HEADER.encode()
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def stands_in_for_engines() -> bool:
    """Tell whether this process is the proxy of Serve's that HAProxy asks only where an engine has no replica."""
    name: str | None = ray.get_runtime_context().get_actor_name()
    return name is not None and "SERVE_PROXY_ACTOR-fallback-" in name
