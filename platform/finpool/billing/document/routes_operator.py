"""The operators' routes of tenants' invoices as files."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from finpool.billing.document import service as render_service
from finpool.billing.document.routes_tenant import files, sent
from finpool.billing.document.schemas import DocumentFormat, DocumentQuery, FocusFormat, FocusQuery
from finpool.billing.errors import CharacterNotPrintable, InvoiceNotFound
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.transactions import give_back
from finpool.kernel.door.web import DocumentRoute, SectorSession, TenantPath, requires

router = APIRouter(tags=["invoices"], route_class=DocumentRoute)


@router.get(
    "/v1/tenants/{tenant_id}/invoices/{invoice_id}/file",
    response_class=Response,
    dependencies=[Depends(requires("invoice:read"))],
    responses={**files(DocumentFormat), **refusals(InvoiceNotFound, CharacterNotPrintable)},
)
async def invoice_file(
    tenant_id: TenantPath,
    invoice_id: Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")],
    session: SectorSession,
    query: Annotated[DocumentQuery, Query()],
) -> Response:
    """Return an invoice, a draft or a credit note as PDF, or its lines as CSV."""
    rendering = await render_service.document(session, tenant_id, invoice_id, query.format, drafts=True)
    await give_back(session)
    return sent(await render_service.rendered_document(rendering))


@router.get(
    "/v1/tenants/{tenant_id}/focus",
    response_class=Response,
    responses=files(FocusFormat),
    dependencies=[Depends(requires("invoice:read"))],
)
async def focus_file(
    request: Request, tenant_id: TenantPath, session: SectorSession, query: Annotated[FocusQuery, Query()]
) -> Response:
    """Return a tenant's invoiced charges of some months in FOCUS 1.3, as CSV or Parquet."""
    catalogue: Catalogue = request.app.state.catalogue
    rendering = await render_service.focus(session, tenant_id, query, catalogue.all())
    await give_back(session)
    return sent(await render_service.rendered_file(rendering))
