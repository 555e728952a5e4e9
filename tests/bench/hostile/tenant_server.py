"""The bank's door without inference, and the regulator's, each in a process that measures the pauses of its loop.

`python tests/bench/hostile/tenant_server.py tenant|regulator PORT`; the settings come from the environment.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from finpool.apps import regulator, tenant
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ProjectId, TenantId
from finpool.kernel.logs import configure_logs
from finpool.kernel.settings import Settings

TICK_SECONDS = 0.001


class ByName:
    """Knows a bank by the name in its credential: this bench measures what follows authentication."""

    async def authenticate(self, credential: str) -> Actor:
        return Actor(Audience.TENANT, "key_1", Role.TENANT_OWNER, TenantId(credential), ProjectId("project-1"))

    def authorize(self, actor: Actor, permission: str) -> None:
        """Let everybody in."""


class PauseMeter:
    """The longest pauses of the loop since the last reading.

    `wall_ms` is how late the loop ran a timer. `busy_ms` is the processor time of the loop's thread in between: it does
    not count the time in which another process had the core.
    """

    def __init__(self) -> None:
        self._longest = {"wall_ms": 0.0, "busy_ms": 0.0}

    async def run(self) -> None:
        while True:
            before, busy_before = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            late = (time.perf_counter() - before - TICK_SECONDS) * 1000
            busy = (time.thread_time() - busy_before) * 1000
            self._longest = {
                "wall_ms": max(self._longest["wall_ms"], late),
                "busy_ms": max(self._longest["busy_ms"], busy),
            }

    async def read(self, _: Request) -> JSONResponse:
        """Answer with the longest pauses, and begin anew."""
        found, self._longest = self._longest, {"wall_ms": 0.0, "busy_ms": 0.0}
        return JSONResponse(found)


def measured(app: FastAPI) -> FastAPI:
    """Return the app with a route of its pauses."""
    meter, inner = PauseMeter(), app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(given: Any) -> AsyncIterator[Any]:
        async with inner(given) as state:
            task = asyncio.create_task(meter.run())
            yield state
            task.cancel()

    app.router.lifespan_context = lifespan
    app.router.routes.append(Route("/pauses", meter.read))
    return app


def main() -> None:
    """Serve until the process ends."""
    settings = Settings()
    configure_logs(settings.log_level, sys.argv[1])
    app = tenant.create_app(settings, ByName()) if sys.argv[1] == "tenant" else regulator.create_app(settings)
    uvicorn.run(
        measured(app),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        ws="none",
    )


if __name__ == "__main__":
    main()
