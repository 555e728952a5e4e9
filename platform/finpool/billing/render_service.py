"""Files of invoices: documents for people, lines for spreadsheets, FOCUS for cost tools."""

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing import invoice_repository
from finpool.billing.invoice_periods import month_named, next_month
from finpool.billing.invoice_schemas import InvoiceStatus, InvoiceView
from finpool.billing.invoice_service import get_invoice, view
from finpool.billing.models import Invoice
from finpool.billing.render_process import render
from finpool.billing.render_schemas import (
    DocumentFormat,
    FocusQuery,
    RenderedFile,
    Rendering,
)
from finpool.kernel.ids import TenantId

_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_PROJECT_NAMES = text("SELECT project_id, name FROM project WHERE tenant_id = :tenant_id")


async def document(
    session: AsyncSession, tenant_id: TenantId, invoice_id: str, wanted: DocumentFormat, *, drafts: bool
) -> RenderedFile:
    """Return one invoice or credit note as a file; raises `InvoiceNotFound`, also for a draft without `drafts`."""
    invoice = await get_invoice(session, tenant_id, invoice_id, drafts=drafts)
    content = await render(Rendering(format=wanted, focus=False, invoices=(invoice,)))
    name = f"{invoice.number or invoice.id}.{wanted}"
    return RenderedFile(name=name, media_type=_MEDIA_TYPES[wanted], content=content)


async def focus_file(session: AsyncSession, tenant_id: TenantId, query: FocusQuery) -> RenderedFile:
    """Return what was issued to a tenant for periods that end in the months asked for, as one FOCUS file."""
    rendering = Rendering(
        format=query.format,
        focus=True,
        invoices=tuple(await _issued(session, tenant_id, query)),
        project_names=await project_names(session, tenant_id),
    )
    name = f"focus-{tenant_id}-{query.start}-{query.end}.{query.format}"
    return RenderedFile(name=name, media_type=_MEDIA_TYPES[query.format], content=await render(rendering))


async def project_names(session: AsyncSession, tenant_id: str) -> dict[str, str]:
    """Return the names of a tenant's projects by their ids."""
    rows = await session.execute(_PROJECT_NAMES, {"tenant_id": tenant_id})
    return {row.project_id: row.name for row in rows}


async def _issued(session: AsyncSession, tenant_id: TenantId, query: FocusQuery) -> list[InvoiceView]:
    wanted = select(Invoice).where(
        col(Invoice.tenant_id) == tenant_id,
        col(Invoice.status) != InvoiceStatus.DRAFT.value,
        col(Invoice.period_end) > month_named(query.start),
        col(Invoice.period_end) <= next_month(month_named(query.end)),
    )
    rows = (await session.execute(wanted.order_by(col(Invoice.period_end), col(Invoice.number)))).scalars().all()
    return [view(row, await invoice_repository.lines(session, tenant_id, row.invoice_id)) for row in rows]
