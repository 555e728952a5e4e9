"""The draft of an invoice: all that is charged from the end of the last invoice to the end of a month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.contract import service as contracts
from finpool.billing.errors import PeriodNotInvoiceable
from finpool.billing.invoice import repository, usage
from finpool.billing.invoice.charges import charges_of
from finpool.billing.invoice.lines import BillingTerms, invoice_line
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus, InvoiceView
from finpool.billing.invoice.usage import BillingCutoff
from finpool.billing.invoice.views import view
from finpool.billing.models import Invoice, InvoiceLine
from finpool.billing.months import month_of, months_between, next_month
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.quota.account import service as accounts
from finpool.quota.schemas import PaymentTerms
from finpool.tenancy import service as tenancy

OWN_DRAFT_ID = "draft"
"""The id of a tenant's own draft, which is computed for each answer and kept nowhere."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A computed draft: its row, and its lines in order."""

    row: Invoice
    lines: Sequence[InvoiceLine]


async def own_draft(session: AsyncSession, tenant_id: TenantId, terms: BillingTerms) -> InvoiceView:
    """Return the draft of a tenant's next invoice, up to the end of this month, as its usage is now.

    It is the invoice that an operator would draft at this moment, but without membership fees. These depend on other
    members, whom a tenant's session does not see; the draft names their months. Raises `UsageDoesNotAddUp`.
    """
    drafted = await compute(
        session, tenant_id, month_of(now()), terms, OWN_DRAFT_ID, created_by="tenant", membership_fees=False
    )
    months = months_between(drafted.row.period_start, drafted.row.period_end)
    left_out = [f"{each:%Y-%m}" for each in months if await contracts.is_member(session, tenant_id, each.date())]
    return view(drafted.row, drafted.lines).model_copy(update={"membership_fees_left_out": tuple(left_out)})


async def compute(
    session: AsyncSession,
    tenant_id: TenantId,
    month: datetime,
    terms: BillingTerms,
    invoice_id: str,
    *,
    created_by: str,
    membership_fees: bool,
) -> Draft:
    """Compute the invoice from the end of the last one to the end of `month`, and write nothing.

    Later records belong to the next invoice. Raises `TenantNotFound`, `PeriodNotInvoiceable` or `UsageDoesNotAddUp`.
    """
    tenant = await tenancy.get_tenant(session, tenant_id)
    payment_terms = await accounts.payment_terms_of(session, tenant_id)
    made_at = now()
    last = await repository.last_issued(session, tenant_id)
    first = await _first_month(session, tenant_id, tenant.created_at)
    _require_invoiceable(month, made_at, last, first)
    start = last.period_end if last else first
    cutoff = BillingCutoff(
        tenant_id=tenant_id,
        end=next_month(month),
        seq=await accounts.last_usage_number(session, tenant_id),
        previous_end=last.period_end if last else None,
        previous_seq=(last.cut_seq or 0) if last else 0,
    )
    charges = await charges_of(session, cutoff, start, last, terms, membership_fees=membership_fees)
    lines = [
        invoice_line(charge, tenant_id=tenant_id, invoice_id=invoice_id, line_no=number, terms=terms)
        for number, charge in enumerate(charges, start=1)
    ]
    net, tax = sum(line.amount_micros for line in lines), sum(line.tax_micros for line in lines)
    row = Invoice(
        tenant_id=tenant_id,
        invoice_id=invoice_id,
        kind=InvoiceKind.INVOICE.value,
        status=InvoiceStatus.DRAFT.value,
        prepaid=payment_terms is PaymentTerms.PREPAID,
        currency=terms.currency,
        seller_name=terms.seller_name,
        buyer_name=tenant.name,
        tax_label=terms.tax_label,
        period_start=start,
        period_end=cutoff.end,
        previous_end=cutoff.previous_end,
        previous_cut_seq=cutoff.previous_seq,
        cut_seq=cutoff.seq,
        net_micros=net,
        tax_micros=tax,
        total_micros=net + tax,
        created_by=created_by,
        created_at=made_at,
    )
    return Draft(row, lines)


async def _first_month(session: AsyncSession, tenant_id: TenantId, created_at: datetime) -> datetime:
    """Return the month of a tenant's creation, or of its first usage if that is earlier."""
    oldest = await usage.oldest_usage(session, tenant_id)
    return month_of(min(created_at, oldest or created_at))


def _require_invoiceable(begins: datetime, at: datetime, last: Invoice | None, first: datetime) -> None:
    if begins > at:
        raise PeriodNotInvoiceable(f"The month {begins:%Y-%m} has not begun.", param="month")
    if last is not None and begins < last.period_end:
        raise PeriodNotInvoiceable(f"The month {begins:%Y-%m} is invoiced already, as {last.number}.", param="month")
    if begins < first:
        raise PeriodNotInvoiceable(
            f"The month {begins:%Y-%m} is before the tenant's first month, {first:%Y-%m}: draft that or a later one.",
            param="month",
        )
