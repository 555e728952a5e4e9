"""The regulator app: institutions, usage over all of them, and the audit log."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from finpool.apps.gatekeeper import PlatformGatekeeper
from finpool.apps.health import database_reachable, health_router
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.actor import Audience
from finpool.kernel.database.database import Database
from finpool.kernel.door.door import new_door
from finpool.kernel.door.seats import REFUSALS, DoorSeats
from finpool.kernel.settings import Settings
from finpool.oversight.routes_regulator import router as oversight_router
from finpool.policy.service import Policy
from finpool.tenancy.service import TenantDirectory


def create_app(settings: Settings) -> FastAPI:
    """Return the regulator app; its parts open at the start of the server."""
    app = new_door(
        "regulator",
        body_bytes_max=settings.body_bytes_max,
        lifespan=_lifespan(settings),
        gate=(*PlatformGatekeeper.errors, *REFUSALS),
    )
    app.state.seats = DoorSeats.of(settings, reserved_connections=1)
    app.include_router(health_router({"database": database_reachable}))
    app.include_router(oversight_router)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pepper = settings.secret("key_pepper")
        database = Database(settings.database_url("regulator"), settings.database_pool_connections_max)
        app.state.database = database
        app.state.audit_waiting_seconds_max = settings.audit_waiting_seconds_max
        app.state.catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        # A regulator's permissions depend on no tenant's contract, so this policy needs neither models nor tenants.
        app.state.gatekeeper = PlatformGatekeeper(database, Audience.REGULATOR, pepper, Policy((), TenantDirectory()))
        try:
            yield
        finally:
            await database.close()

    return lifespan
