"""The operators' routes of payments and prepaid top-ups."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.errors import (
    AboveWhatIsLeft,
    InvoiceNotFound,
    NotAWholeAmount,
    NotPrepaid,
    ReferenceUsed,
    WrongInvoiceStatus,
)
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.payment import service as payment_service
from finpool.billing.payment.schemas import NewPayment, PaymentView
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
    "/invoices/{invoice_id}/payments",
    status_code=201,
    responses=refusals(
        TenantNotFound,
        InvoiceNotFound,
        WrongInvoiceStatus,
        NotAWholeAmount,
        AboveWhatIsLeft,
        ReferenceUsed,
        AuditEntryTooLarge,
    ),
)
async def pay_invoice(
    tenant_id: TenantPath, invoice_id: InvoicePath, body: NewPayment, actor: PaymentWriter, session: SectorSession
) -> PaymentView:
    """Book a payment of an issued invoice; a repeated reference is the same payment."""
    return await payment_service.pay_invoice(session, actor, tenant_id, invoice_id, body)


@router.post(
    "/top-ups",
    status_code=201,
    responses=refusals(TenantNotFound, NotPrepaid, NotAWholeAmount, ReferenceUsed, AuditEntryTooLarge),
)
async def top_up(
    tenant_id: TenantPath, body: NewPayment, actor: PaymentWriter, session: SectorSession, terms: Terms
) -> PaymentView:
    """Book a prepaid tenant's payment in advance; a repeated reference is the same payment."""
    return await payment_service.top_up(session, actor, tenant_id, body, terms.currency)
