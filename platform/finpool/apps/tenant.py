"""The tenant app: projects, account and limits, usage, shares, costs and audit trail.

It is served beside the inference app and uses that app's gatekeeper.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.audit.routes_tenant import router as audit_router
from finpool.billing.contract.routes_tenant import router as contracts_router
from finpool.billing.cost.routes_tenant import router as billing_router
from finpool.billing.dispute.routes_tenant import router as disputes_router
from finpool.billing.document.routes_tenant import router as files_router
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.routes_tenant import router as invoices_router
from finpool.billing.service_share.routes_tenant import router as service_shares_router
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.absent_resources import ABSENT
from finpool.kernel.database.database import Database
from finpool.kernel.door.door import new_door
from finpool.kernel.door.seats import REFUSALS, DoorSeats
from finpool.kernel.door.web import Gatekeeper
from finpool.kernel.settings import Settings
from finpool.metering.usage.routes_tenant import router as metering_router
from finpool.quota.limit.routes_tenant import router as quota_router
from finpool.tenancy.routes_tenant import router as projects_router


def create_app(settings: Settings, gatekeeper: Gatekeeper) -> FastAPI:
    """Return the tenant app; the caller runs its lifespan, which opens and closes its database.

    The database role sees one tenant's rows at a time, and may write only disputes and the tenant's own limits.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database_url("tenant"), settings.database_pool_connections_max)
        app.state.catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        app.state.billing_terms = BillingTerms.of(settings, app.state.catalogue.currency)
        app.state.database = database
        app.state.audit_waiting_seconds_max = settings.audit_waiting_seconds_max
        try:
            yield
        finally:
            await database.close()

    app = new_door(
        "tenant",
        body_bytes_max=settings.body_bytes_max,
        lifespan=lifespan,
        described=False,
        gate=(*TenantGatekeeper.errors, *REFUSALS),
        absent=ABSENT,
    )
    app.state.gatekeeper = gatekeeper
    app.state.seats = DoorSeats.of(settings)
    app.include_router(projects_router)
    app.include_router(quota_router)
    app.include_router(metering_router)
    app.include_router(billing_router)
    app.include_router(contracts_router)
    app.include_router(service_shares_router)
    app.include_router(invoices_router)
    app.include_router(disputes_router)
    app.include_router(files_router)
    app.include_router(audit_router)
    return app
