"""Rows of invoices as answers."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.invoice import repository
from finpool.billing.invoice.schemas import InvoiceLineView, InvoiceSummary, InvoiceView
from finpool.billing.models import Invoice, InvoiceLine
from finpool.kernel.ids import TenantId


def summary(row: Invoice, refers_to_number: str | None = None) -> InvoiceSummary:
    """Return the invoice without its lines; a credit note names the number of its invoice."""
    return InvoiceSummary.model_validate(
        {**row.model_dump(), "id": row.invoice_id, "refers_to_number": refers_to_number}
    )


def view(row: Invoice, lines: Sequence[InvoiceLine], refers_to_number: str | None = None) -> InvoiceView:
    """Return the invoice with its lines; a credit note names the number of its invoice."""
    shown = tuple(InvoiceLineView.model_validate(line) for line in lines)
    return InvoiceView(**dict(summary(row, refers_to_number)), lines=shown)


async def read_view(session: AsyncSession, row: Invoice) -> InvoiceView:
    """Return the invoice with its lines and the number of the invoice that it refers to."""
    tenant_id = TenantId(row.tenant_id)
    numbers = await repository.referred_numbers(session, tenant_id, [row])
    return view(row, await repository.lines(session, tenant_id, row.invoice_id), numbers.get(row.refers_to or ""))
