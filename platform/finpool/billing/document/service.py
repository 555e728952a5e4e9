"""Files of invoices: documents for people, lines for spreadsheets, FOCUS for cost tools."""

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.contract.repository import contracts
from finpool.billing.document.process import RENDER_SECONDS_MAX, render
from finpool.billing.document.schemas import (
    MEDIA_TYPES,
    DocumentFormat,
    FocusQuery,
    MissingGlyph,
    RenderedFile,
    Rendering,
)
from finpool.billing.errors import CharacterNotPrintable
from finpool.billing.invoice.schemas import InvoiceStatus, InvoiceView, TokenKind
from finpool.billing.invoice.service import get_invoice
from finpool.billing.invoice.views import read_view
from finpool.billing.models import Invoice
from finpool.billing.months import month_named, next_month
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.price import service as prices
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.errors import Unavailable
from finpool.kernel.ids import TenantId
from finpool.tenancy import service as tenancy


async def document(
    session: AsyncSession, tenant_id: TenantId, invoice_id: str, wanted: DocumentFormat, *, drafts: bool
) -> Rendering:
    """Return the parts of one invoice's or credit note's file.

    Raises `InvoiceNotFound`, also for a draft without `drafts`.
    """
    return document_of(await get_invoice(session, tenant_id, invoice_id, drafts=drafts), wanted)


def document_of(invoice: InvoiceView, wanted: DocumentFormat) -> Rendering:
    """Return the parts of an invoice's file."""
    name = f"{invoice.number or invoice.id}.{wanted}"
    return Rendering(name=name, format=wanted, focus=False, invoices=(invoice,))


async def rendered_document(rendering: Rendering) -> RenderedFile:
    """Make the file of one invoice as `rendered_file` does; raise `CharacterNotPrintable`."""
    try:
        return await rendered_file(rendering)
    except MissingGlyph as missing:
        raise CharacterNotPrintable(missing.character, missing.field) from missing


async def rendered_file(rendering: Rendering) -> RenderedFile:
    """Make a file; no connection may be held meanwhile. Raises `MissingGlyph` or `Unavailable`."""
    try:
        content = await render(rendering)
    except TimeoutError as late:
        raise Unavailable(
            f"The file was not made within {RENDER_SECONDS_MAX:g} seconds. Ask for fewer months, or try again later."
        ) from late
    return RenderedFile(name=rendering.name, media_type=MEDIA_TYPES[rendering.format], content=content)


async def focus(
    session: AsyncSession,
    tenant_id: TenantId,
    query: FocusQuery,
    models: Iterable[Model],
    draft: InvoiceView | None = None,
) -> Rendering:
    """Return the parts of one FOCUS file over the tenant's documents, and over a draft, of the queried months.

    A document belongs to the month in which its period ends.
    """
    invoices = await _issued(session, tenant_id, query)
    if draft is not None and month_named(query.start) < draft.period_end <= next_month(month_named(query.end)):
        invoices.append(draft)
    billed = {line.model_id for invoice in invoices for line in invoice.lines if line.model_id is not None}
    declared = [TokenPrice.of(model.id, model.price) for model in models if model.id in billed]
    return Rendering(
        name=f"focus-{tenant_id}-{query.start}-{query.end}.{query.format}",
        format=query.format,
        focus=True,
        invoices=tuple(invoices),
        project_names=await tenancy.project_names(session, tenant_id),
        list_picos=await _list_picos(session, tenant_id, billed, declared),
    )


async def _list_picos(
    session: AsyncSession, tenant_id: TenantId, model_ids: Iterable[str], declared: Iterable[TokenPrice]
) -> dict[str, dict[TokenKind, int]]:
    """Return the known list prices behind each discounted price version of the tenant's contracts."""
    book = await prices.book(session)
    scheduled = [row.price for model_id in model_ids for row in book.rows(model_id) if row.price is not None]
    known = {price.price_version: price for price in (*declared, *scheduled)}
    discounts = sorted({each.discount_basis_points for each in await contracts(session, tenant_id)} - {0}, reverse=True)
    return {
        price.discounted(discount).price_version: {
            TokenKind.INPUT: price.input_picos,
            TokenKind.CACHED_INPUT: price.cached_input_picos,
            TokenKind.OUTPUT: price.output_picos,
        }
        for discount in discounts
        for _, price in sorted(known.items())
    }


async def _issued(session: AsyncSession, tenant_id: TenantId, query: FocusQuery) -> list[InvoiceView]:
    wanted = rows_of(tenant_id, Invoice).where(
        col(Invoice.status) != InvoiceStatus.DRAFT.value,
        col(Invoice.period_end) > month_named(query.start),
        col(Invoice.period_end) <= next_month(month_named(query.end)),
    )
    rows = (await session.execute(wanted.order_by(col(Invoice.period_end), col(Invoice.number)))).scalars().all()
    return [await read_view(session, row) for row in rows]
