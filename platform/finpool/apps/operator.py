"""The operators' door: tenants, projects, keys, limits, accounts, models and usage."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from finpool.apps.gatekeeper import PlatformGatekeeper
from finpool.apps.health import database_reachable, health_router
from finpool.billing.invoice_lines import BillingTerms
from finpool.billing.routes_contracts_operator import router as contracts_router
from finpool.billing.routes_disputes_operator import router as disputes_router
from finpool.billing.routes_files_operator import router as files_router
from finpool.billing.routes_invoices_operator import router as invoices_router
from finpool.catalogue.routes_operator import router as catalogue_router
from finpool.catalogue.routes_prices import router as prices_router
from finpool.catalogue.service import Catalogue, default_directory
from finpool.identity.routes_operator import router as identity_router
from finpool.kernel.actor import Audience
from finpool.kernel.database import Database
from finpool.kernel.settings import Settings
from finpool.kernel.web import new_door
from finpool.metering.routes_operator import router as metering_router
from finpool.policy.service import Policy
from finpool.quota.routes_operator import router as quota_router
from finpool.tenancy.routes_operator import router as tenancy_router
from finpool.tenancy.service import TenantDirectory


def create_app(settings: Settings) -> FastAPI:
    """Return the app of the operators' door; what it needs is opened when it starts."""
    app = new_door("operator", body_bytes_max=settings.body_bytes_max, lifespan=_lifespan(settings))
    app.include_router(health_router({"database": database_reachable}))
    for router in (
        tenancy_router,
        identity_router,
        quota_router,
        catalogue_router,
        prices_router,
        contracts_router,
        invoices_router,
        disputes_router,
        files_router,
        metering_router,
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
        app.state.billing_terms = BillingTerms(
            currency=catalogue.currency,
            seller_name=settings.invoice_seller_name,
            tax_label=settings.invoice_tax_label,
            tax_basis_points=settings.invoice_tax_basis_points,
        )
        app.state.model_ids = frozenset(model.id for model in catalogue.all())
        app.state.key_pepper = pepper
        app.state.database = database
        app.state.gatekeeper = PlatformGatekeeper(database, Audience.OPERATOR, pepper, Policy((), TenantDirectory()))
        try:
            yield
        finally:
            await database.close()

    return lifespan
