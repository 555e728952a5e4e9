"""The operators' route of credit notes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.credit_note import service as credit_service
from finpool.billing.errors import (
    AboveWhatIsLeft,
    InvoiceNotFound,
    LineNotFound,
    NotAWholeAmount,
    ReferenceUsed,
    WrongInvoiceStatus,
)
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.schemas import InvoiceView
from finpool.billing.payment.schemas import NewCreditNote
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, TenantPath, requires
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["invoices"], route_class=DoorRoute)

InvoicePath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$", description="The invoice's id, not its number.")]
InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]
InvoiceWriter = Annotated[Actor, Depends(requires("invoice:write"))]
PaymentWriter = Annotated[Actor, Depends(requires("payment:write"))]


def _terms(request: Request) -> BillingTerms:
    terms: BillingTerms = request.app.state.billing_terms
    return terms


Terms = Annotated[BillingTerms, Depends(_terms)]


@router.post(
    "/invoices/{invoice_id}/credit-notes",
    status_code=201,
    responses=refusals(
        TenantNotFound,
        InvoiceNotFound,
        LineNotFound,
        WrongInvoiceStatus,
        NotAWholeAmount,
        AboveWhatIsLeft,
        ReferenceUsed,
        AuditEntryTooLarge,
    ),
)
async def credit_invoice(
    tenant_id: TenantPath, invoice_id: InvoicePath, body: NewCreditNote, actor: InvoiceWriter, session: SectorSession
) -> InvoiceView:
    """Issue a credit note over lines of an issued invoice, or over its whole rest."""
    return await credit_service.credit_invoice(session, actor, tenant_id, invoice_id, body)
