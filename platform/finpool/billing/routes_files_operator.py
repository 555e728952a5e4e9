"""The operators' routes of tenants' bills as files, and of the reconciliation."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from finpool.billing import render_service
from finpool.billing.reconcile_schemas import Reconciliation, ReconciliationQuery
from finpool.billing.reconcile_service import reconcile
from finpool.billing.render_schemas import DocumentQuery, FocusQuery
from finpool.billing.routes_files_tenant import sent
from finpool.catalogue.service import Catalogue
from finpool.kernel.database import Database
from finpool.kernel.web import DoorRoute, SectorSession, TenantPath, requires

router = APIRouter(tags=["invoices"], route_class=DoorRoute)


@router.get(
    "/v1/tenants/{tenant_id}/invoices/{invoice_id}/file",
    response_class=Response,
    dependencies=[Depends(requires("invoice:read"))],
)
async def invoice_file(
    tenant_id: TenantPath,
    invoice_id: Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")],
    session: SectorSession,
    query: Annotated[DocumentQuery, Query()],
) -> Response:
    """Return an invoice, a draft or a credit note as PDF, or its lines as CSV."""
    return sent(await render_service.document(session, tenant_id, invoice_id, query.format, drafts=True))


@router.get("/v1/tenants/{tenant_id}/focus", response_class=Response, dependencies=[Depends(requires("invoice:read"))])
async def focus_file(
    request: Request, tenant_id: TenantPath, session: SectorSession, query: Annotated[FocusQuery, Query()]
) -> Response:
    """Return what was invoiced for some months in FOCUS 1.3, as CSV or Parquet."""
    catalogue: Catalogue = request.app.state.catalogue
    return sent(await render_service.focus_file(session, tenant_id, query, catalogue.all()))


@router.get("/v1/reconciliation", dependencies=[Depends(requires("ledger:read"))])
async def reconciliation(request: Request, query: Annotated[ReconciliationQuery, Query()]) -> Reconciliation:
    """Compare log, usage, accounts, ledger, invoices and exports as of one moment, and return every difference."""
    database: Database = request.app.state.database
    return await reconcile(database, query.start, query.end, query.tenant_id)
