"""A tenant's own invoices as files."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from finpool.billing.document import service as render_service
from finpool.billing.document.schemas import (
    MEDIA_TYPES,
    DocumentFormat,
    DocumentQuery,
    FocusFormat,
    OwnFocusQuery,
    RenderedFile,
)
from finpool.billing.errors import CharacterNotPrintable, InvoiceNotFound, PeriodNotInvoiceable, UsageDoesNotAddUp
from finpool.billing.invoice.draft import own_draft
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.routes_tenant import terms_of
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import Responses, refusals
from finpool.kernel.door.transactions import give_back
from finpool.kernel.door.web import DocumentRoute, TenantSession, requires

router = APIRouter(prefix="/v1/organization", tags=["invoices"], route_class=DocumentRoute)

InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]


def files(formats: Iterable[str]) -> Responses:
    """Return the `responses` of a route that answers with a file in one of the formats."""
    return {200: {"content": {MEDIA_TYPES[each].partition(";")[0]: {} for each in formats}}}


@router.get(
    "/invoices/draft/file",
    response_class=Response,
    responses={**files(DocumentFormat), **refusals(UsageDoesNotAddUp, PeriodNotInvoiceable, CharacterNotPrintable)},
)
async def own_draft_file(
    actor: InvoiceReader,
    session: TenantSession,
    query: Annotated[DocumentQuery, Query()],
    terms: Annotated[BillingTerms, Depends(terms_of)],
) -> Response:
    """Return the next invoice as it would be now, as PDF, or its lines as CSV."""
    draft = await own_draft(session, actor.tenant, terms)
    await give_back(session)
    return sent(await render_service.rendered_document(render_service.document_of(draft, query.format)))


@router.get(
    "/invoices/{invoice_id}/file",
    response_class=Response,
    responses={**files(DocumentFormat), **refusals(InvoiceNotFound, CharacterNotPrintable)},
)
async def invoice_file(
    invoice_id: Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")],
    actor: InvoiceReader,
    session: TenantSession,
    query: Annotated[DocumentQuery, Query()],
) -> Response:
    """Return an issued invoice or credit note as PDF, or its lines as CSV."""
    rendering = await render_service.document(session, actor.tenant, invoice_id, query.format, drafts=False)
    await give_back(session)
    return sent(await render_service.rendered_document(rendering))


@router.get(
    "/focus",
    response_class=Response,
    responses={**files(FocusFormat), **refusals(UsageDoesNotAddUp, PeriodNotInvoiceable)},
)
async def focus_file(
    request: Request,
    actor: InvoiceReader,
    session: TenantSession,
    query: Annotated[OwnFocusQuery, Query()],
    terms: Annotated[BillingTerms, Depends(terms_of)],
) -> Response:
    """Return the tenant's charges of some months in FOCUS 1.3, as CSV or Parquet; with `draft` also those to come."""
    catalogue: Catalogue = request.app.state.catalogue
    draft = await own_draft(session, actor.tenant, terms) if query.draft else None
    rendering = await render_service.focus(session, actor.tenant, query, catalogue.all(), draft)
    await give_back(session)
    return sent(await render_service.rendered_file(rendering))


def sent(file: RenderedFile) -> Response:
    """Return a file as a response that browsers save."""
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return Response(file.content, media_type=file.media_type, headers=headers)
