"""The operator app: tenants, projects, keys, limits, accounts, models, usage, contracts and invoices."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from finpool.apps.gatekeeper import PlatformGatekeeper
from finpool.apps.health import database_reachable, health_router
from finpool.audit.freshness_watch import FreshnessWatch
from finpool.audit.routes_operator import router as audit_router
from finpool.billing.contract.routes_operator import router as contracts_router
from finpool.billing.credit_note.routes_operator import router as credit_notes_router
from finpool.billing.dispute.routes_operator import router as disputes_router
from finpool.billing.document.routes_operator import router as files_router
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.routes_operator import router as invoices_router
from finpool.billing.payment.routes_operator import router as payments_router
from finpool.billing.reconciliation.routes_operator import router as reconciliation_router
from finpool.billing.service_share.routes_operator import router as service_shares_router
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price import service as prices
from finpool.catalogue.price.routes_operator import router as prices_router
from finpool.catalogue.price.schemas import TokenPrice
from finpool.catalogue.routes_operator import router as catalogue_router
from finpool.catalogue.version.routes_operator import router as versions_router
from finpool.identity.routes_operator import router as identity_router
from finpool.kernel.actor import Audience
from finpool.kernel.database.database import Database
from finpool.kernel.door.door import new_door
from finpool.kernel.door.seats import REFUSALS, DoorSeats
from finpool.kernel.logs import logger
from finpool.kernel.settings import Settings
from finpool.metering.lost_spool.routes_operator import router as lost_spools_router
from finpool.metering.usage.routes_operator import router as metering_router
from finpool.oversight.capacity.routes_operator import router as capacity_router
from finpool.policy.service import Policy
from finpool.quota.lease.routes_operator import router as leases_router
from finpool.quota.limit.routes_operator import router as quota_router
from finpool.tenancy.routes_operator import router as tenancy_router
from finpool.tenancy.service import TenantDirectory

_REGISTER_SECONDS_MAX = 5.0
_log = logger("apps.operator")


def create_app(settings: Settings) -> FastAPI:
    """Return the operator app; its parts open at the start of the server."""
    app = new_door(
        "operator",
        body_bytes_max=settings.body_bytes_max,
        lifespan=_lifespan(settings),
        gate=(*PlatformGatekeeper.errors, *REFUSALS),
    )
    app.state.seats = DoorSeats.of(settings, reserved_connections=1)
    app.include_router(health_router({"database": database_reachable}))
    for router in (
        audit_router,
        tenancy_router,
        identity_router,
        quota_router,
        catalogue_router,
        versions_router,
        prices_router,
        contracts_router,
        invoices_router,
        payments_router,
        credit_notes_router,
        disputes_router,
        files_router,
        reconciliation_router,
        service_shares_router,
        metering_router,
        leases_router,
        lost_spools_router,
        capacity_router,
    ):
        app.include_router(router)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        pepper = settings.secret("key_pepper")
        database = Database(settings.database_url("operator"), settings.database_pool_connections_max)
        app.state.catalogue = catalogue
        app.state.billing_terms = BillingTerms.of(settings, catalogue.currency)
        app.state.model_ids = frozenset(model.id for model in catalogue.all())
        app.state.key_pepper = pepper
        app.state.audit_waiting_seconds_max = settings.audit_waiting_seconds_max
        app.state.database = database
        app.state.gatekeeper = PlatformGatekeeper(database, Audience.OPERATOR, pepper, Policy((), TenantDirectory()))
        watch = FreshnessWatch(database, settings.audit_waiting_seconds_max)
        try:
            await _register_declared_prices(database, catalogue)
            watch.start()
            yield
        finally:
            await watch.close()
            await database.close()

    return lifespan


async def _register_declared_prices(database: Database, catalogue: Catalogue) -> None:
    """Insert the declared price versions: usage from before the versions table names them, too."""
    try:
        async with asyncio.timeout(_REGISTER_SECONDS_MAX), database.across_tenants() as session:
            await prices.register(session, [TokenPrice.of(model.id, model.price) for model in catalogue.all()])
    except (OSError, SQLAlchemyError) as error:
        # The app starts without its database; the recorder inserts every price version in use from now on.
        _log.warning("declared prices were not inserted; the next start retries", error=type(error).__name__)
