"""A tenant's own invoices, and its disputes of what is in them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from finpool.billing import dispute_service, invoice_service
from finpool.billing.dispute_schemas import DisputeView, NewDispute
from finpool.billing.invoice_schemas import InvoiceSummary, InvoiceView
from finpool.kernel.actor import Actor
from finpool.kernel.paging import ListPage
from finpool.kernel.web import DoorRoute, Page, TenantSession, requires

router = APIRouter(prefix="/v1/organization", tags=["invoices"], route_class=DoorRoute)

IdPath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")]
InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]
DisputeReader = Annotated[Actor, Depends(requires("dispute:read"))]
DisputeWriter = Annotated[Actor, Depends(requires("dispute:write"))]


@router.get("/invoices")
async def list_invoices(actor: InvoiceReader, session: TenantSession, query: Page) -> ListPage[InvoiceSummary]:
    """List the tenant's issued invoices and credit notes, the newest first."""
    return await invoice_service.list_invoices(session, actor.tenant, query, drafts=False)


@router.get("/invoices/{invoice_id}")
async def get_invoice(invoice_id: IdPath, actor: InvoiceReader, session: TenantSession) -> InvoiceView:
    """Return an issued invoice or credit note with its lines."""
    return await invoice_service.get_invoice(session, actor.tenant, invoice_id, drafts=False)


@router.post("/disputes", status_code=201)
async def open_dispute(body: NewDispute, actor: DisputeWriter, session: TenantSession) -> DisputeView:
    """Dispute a line of an issued invoice, or a request, and say why."""
    return await dispute_service.open_dispute(session, actor, body)


@router.get("/disputes")
async def list_disputes(actor: DisputeReader, session: TenantSession, query: Page) -> ListPage[DisputeView]:
    """List the tenant's disputes, by id."""
    return await dispute_service.list_disputes(session, actor.tenant, query)


@router.get("/disputes/{dispute_id}")
async def get_dispute(dispute_id: IdPath, actor: DisputeReader, session: TenantSession) -> DisputeView:
    """Return a dispute and, once there is one, its answer."""
    return await dispute_service.get_dispute(session, actor.tenant, dispute_id)
