"""The inference app, the banks' door: the inference path and, on the same port, the tenant API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from finpool.apps import tenant
from finpool.apps.cors import allow_origins
from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.apps.gateway_startup import opened_when_usable, spool_takes_work
from finpool.apps.health import database_reachable, health_router
from finpool.billing.contract.price_directory import PriceDirectory
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.version.directory import VersionDirectory
from finpool.gateway.absent_resources import ABSENT
from finpool.gateway.idempotency.room import IdempotencyBounds
from finpool.gateway.idempotency.service import Idempotency
from finpool.gateway.peers.sync import PeerSync
from finpool.gateway.routes import direct_router
from finpool.gateway.routes import router as gateway_router
from finpool.gateway.service import Gateway
from finpool.identity.service import KeyDirectory
from finpool.kernel import telemetry
from finpool.kernel.database.changes import ChangeFeed, SnapshotTooOld
from finpool.kernel.database.database import Database
from finpool.kernel.door.door import Door, new_door
from finpool.kernel.ids import ReplicaId, new_id
from finpool.kernel.settings import Settings
from finpool.metering.meter.service import Metering, open_spool
from finpool.metering.spool.spool import Spool
from finpool.policy.service import Policy
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota
from finpool.serving.backend.service import Backends
from finpool.tenancy.service import TenantDirectory

TENANT_PREFIX = "/v1/organization"


class InferenceDoor:
    """The parts of one inference process, in the order of their start and stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        self.database = Database(settings.database_url("inference"), settings.database_pool_connections_max)
        tenants = TenantDirectory()
        keys = KeyDirectory(settings.secret("key_pepper"), tenants)
        self._versions = VersionDirectory(self.catalogue)
        self._limits = LimitDirectory()
        self._prices = PriceDirectory()
        self._policy = Policy([model.id for model in self.catalogue.all()], tenants)
        # Limits load before keys, so that every known key has its limits.
        snapshots = (self._versions, tenants, self._policy, self._limits, self._prices, keys)
        self.feed = ChangeFeed(self.database, snapshots, settings.snapshot_age_max_seconds)
        self.gatekeeper = TenantGatekeeper(self.feed, keys, self._policy)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Gateway]:
        """Start all parts, yield the gateway, and stop them in reverse order."""
        async with self.follow(), self.serve() as (gateway, _):
            yield gateway

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[None]:
        """Keep the snapshots of keys, policy, limits, prices and versions up to date."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            await self.feed.start()
            stack.push_async_callback(self.feed.close)
            yield

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[tuple[Gateway, Spool]]:
        """Open the gateway and its spool, and stop in reverse: calls end, leases are returned, the spool closes.

        Raises `SpoolUnusable` if the spool's file cannot be used.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            replica_id = ReplicaId(settings.replica_id)
            spool = await open_spool(settings.spool_path, settings.spool_bytes_max, self.database, replica_id)
            stack.push_async_callback(spool.close)
            allotments = Allotments(
                self.database,
                Holder(replica_id, spool.spool_id, new_id("run")),
                spool.return_lease,
                share_of_rest=settings.lease_share_of_rest,
                idle_seconds=settings.lease_idle_seconds,
            )
            await allotments.recover()
            quota = Quota(self._limits, allotments)
            stack.push_async_callback(quota.close)
            await stack.enter_async_context(_running(quota, settings.lease_idle_seconds))
            backends = Backends(settings, self.catalogue.all())
            await backends.start()
            telemetry.observe_backends(backends.breakers.closed_by_backend)
            stack.push_async_callback(backends.close)
            peer_sync = PeerSync(self.database, replica_id)
            stack.push_async_callback(peer_sync.close)
            idempotency = Idempotency(
                Database(settings.database_url("inference"), settings.database_pool_connections_max),
                replica_id,
                settings.secret("key_pepper"),
                quota,
                IdempotencyBounds(
                    settings.idempotency_keys_max,
                    settings.idempotency_tenant_bytes_max,
                    settings.idempotency_answer_bytes_max,
                ),
            )
            stack.push_async_callback(idempotency.close)
            await idempotency.start()
            gateway = Gateway(
                settings,
                catalogue=self.catalogue,
                versions=self._versions,
                policy=self._policy,
                prices=self._prices,
                quota=quota,
                metering=Metering(spool),
                backends=backends,
                peer_sync=peer_sync,
                idempotency=idempotency,
            )
            stack.push_async_callback(gateway.close)
            await peer_sync.start()
            yield gateway, spool


class TenantDispatch:
    """The ASGI dispatcher that sends paths of the tenant API to the tenant app, and others to the inference app."""

    def __init__(self, app: ASGIApp, tenant_app: ASGIApp) -> None:
        self._app = app
        self._tenant_app = tenant_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Choose the app by the path; the lifespan of the inference app also opens the tenant app."""
        of_tenant = scope["type"] == "http" and scope["path"].startswith(TENANT_PREFIX)
        await (self._tenant_app if of_tenant else self._app)(scope, receive, send)


def create_app(settings: Settings) -> Door:
    """Return the inference app; its parts open at the start of the server."""
    door = InferenceDoor(settings)
    tenant_app = tenant.create_app(settings, door.gatekeeper)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            tenant_app.router.lifespan_context(tenant_app),
            door.follow(),
            opened_when_usable(door.serve, settings.spool_path, app.state),
        ):
            yield

    app = new_door(
        "inference",
        body_bytes_max=settings.body_bytes_max,
        lifespan=lifespan,
        gate=TenantGatekeeper.errors,
        absent=ABSENT,
    )
    app.state.database = door.database
    app.state.feed = door.feed
    app.state.gatekeeper = door.gatekeeper
    app.add_middleware(TenantDispatch, tenant_app=tenant_app)
    allow_origins(app, settings.cors_origins or ())
    checks = {"database": database_reachable, "snapshot": _snapshot_fresh, "spool": spool_takes_work}
    app.include_router(health_router(checks))
    app.include_router(direct_router)
    app.include_router(gateway_router)
    app.serve_directly()
    return app


async def _snapshot_fresh(state: State) -> bool:
    try:
        state.feed.require_fresh()
    except SnapshotTooOld:
        return False
    return True


@asynccontextmanager
async def _running(quota: Quota, idle_seconds: float) -> AsyncIterator[None]:
    task = asyncio.create_task(quota.run(idle_seconds), name="leases")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
