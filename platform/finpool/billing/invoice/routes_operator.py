"""The operators' routes of invoices."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.errors import InvoiceNotFound, InvoiceNotReady, PeriodNotInvoiceable, UsageDoesNotAddUp
from finpool.billing.invoice import service as invoice_service
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.routes_tenant import terms_of
from finpool.billing.invoice.schemas import InvoiceSummary, InvoiceView, NewInvoice
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, SectorSession, TenantPath, requires
from finpool.kernel.paging import ListPage
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["invoices"], route_class=DoorRoute)

InvoicePath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$", description="The invoice's id, not its number.")]
InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]
InvoiceWriter = Annotated[Actor, Depends(requires("invoice:write"))]
PaymentWriter = Annotated[Actor, Depends(requires("payment:write"))]


Terms = Annotated[BillingTerms, Depends(terms_of)]


@router.post(
    "/invoices",
    status_code=201,
    responses=refusals(TenantNotFound, PeriodNotInvoiceable, UsageDoesNotAddUp, AuditEntryTooLarge),
)
async def draft_invoice(
    tenant_id: TenantPath, body: NewInvoice, actor: InvoiceWriter, session: SectorSession, terms: Terms
) -> InvoiceView:
    """Draft, or draft again, the invoice from the end of the last one to the end of a month."""
    return await invoice_service.draft_invoice(session, actor, tenant_id, body.month, terms)


@router.get("/invoices")
async def list_invoices(
    tenant_id: TenantPath, _: InvoiceReader, session: SectorSession, query: Page
) -> ListPage[InvoiceSummary]:
    """List a tenant's invoices and credit notes, drafts included, the newest first."""
    return await invoice_service.list_invoices(session, tenant_id, query, drafts=True)


@router.get("/invoices/{invoice_id}", responses=refusals(InvoiceNotFound))
async def get_invoice(
    tenant_id: TenantPath, invoice_id: InvoicePath, _: InvoiceReader, session: SectorSession
) -> InvoiceView:
    """Return an invoice or a credit note with its lines."""
    return await invoice_service.get_invoice(session, tenant_id, invoice_id, drafts=True)


@router.post(
    "/invoices/{invoice_id}/issue",
    responses=refusals(TenantNotFound, InvoiceNotFound, InvoiceNotReady, AuditEntryTooLarge),
)
async def issue_invoice(
    tenant_id: TenantPath, invoice_id: InvoicePath, actor: InvoiceWriter, session: SectorSession
) -> InvoiceView:
    """Number a draft and book it; an issued invoice never changes."""
    return await invoice_service.issue_invoice(session, actor, tenant_id, invoice_id)
