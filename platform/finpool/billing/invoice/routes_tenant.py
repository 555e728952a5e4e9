"""A tenant's own invoices and credit notes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.billing.errors import InvoiceNotFound, PeriodNotInvoiceable, UsageDoesNotAddUp
from finpool.billing.invoice import service as invoice_service
from finpool.billing.invoice.draft import own_draft
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.schemas import InvoiceSummary, InvoiceView
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, TenantSession, requires
from finpool.kernel.paging import ListPage

router = APIRouter(prefix="/v1/organization", tags=["invoices"], route_class=DoorRoute)

IdPath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")]
InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]
DisputeReader = Annotated[Actor, Depends(requires("dispute:read"))]
DisputeWriter = Annotated[Actor, Depends(requires("dispute:write"))]


def terms_of(request: Request) -> BillingTerms:
    """Return the invoice settings of this installation."""
    terms: BillingTerms = request.app.state.billing_terms
    return terms


@router.get("/invoices")
async def list_invoices(actor: InvoiceReader, session: TenantSession, query: Page) -> ListPage[InvoiceSummary]:
    """List the tenant's issued invoices and credit notes, the newest first."""
    return await invoice_service.list_invoices(session, actor.tenant, query, drafts=False)


@router.get("/invoices/draft", responses=refusals(UsageDoesNotAddUp, PeriodNotInvoiceable))
async def get_own_draft(
    actor: InvoiceReader, session: TenantSession, terms: Annotated[BillingTerms, Depends(terms_of)]
) -> InvoiceView:
    """Return the next invoice as it would be now, up to the end of this month, without membership fees.

    `membership_fees_left_out` names the months of these fees; the invoice has them.
    """
    return await own_draft(session, actor.tenant, terms)


@router.get("/invoices/{invoice_id}", responses=refusals(InvoiceNotFound))
async def get_invoice(invoice_id: IdPath, actor: InvoiceReader, session: TenantSession) -> InvoiceView:
    """Return an issued invoice or credit note with its lines."""
    return await invoice_service.get_invoice(session, actor.tenant, invoice_id, drafts=False)
