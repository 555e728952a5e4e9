"""Health routes of every door: `/healthz` for liveness, `/readyz` for readiness."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.datastructures import State

from finpool.kernel.database.database import Database
from finpool.kernel.door.web import DoorRoute
from finpool.kernel.errors import Unavailable

Check = Callable[[State], Awaitable[bool]]
"""Tells from the app's state whether one required part is available."""

_CHECK_SECONDS_MAX = 2.0


class HealthView(BaseModel):
    """All is well; anything else is an error."""

    status: Literal["ok"] = "ok"


def health_router(checks: Mapping[str, Check]) -> APIRouter:
    """Return the routes `/healthz` and `/readyz`; they need no credential and disclose no secret.

    `/readyz` answers 503 with the names of the failed checks; a check that takes longer than two seconds fails.
    """
    router = APIRouter(tags=["health"], route_class=DoorRoute)

    @router.get("/healthz")
    async def healthz() -> HealthView:
        """Tell that the process is alive."""
        return HealthView()

    @router.get("/readyz")
    async def readyz(request: Request) -> HealthView:
        """Tell whether the process can do its work; a refusal names what fails."""
        passed = await asyncio.gather(*(_passes(check, request.app.state) for check in checks.values()))
        failing = [name for name, ok in zip(checks, passed, strict=True) if not ok]
        if failing:
            raise Unavailable(f"Not ready: {', '.join(failing)}.")
        return HealthView()

    return router


async def database_reachable(state: State) -> bool:
    """Tell whether the app's database answers."""
    database: Database = state.database
    return await database.reachable()


async def _passes(check: Check, state: State) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS_MAX):
            return await check(state)
    except TimeoutError:
        return False
