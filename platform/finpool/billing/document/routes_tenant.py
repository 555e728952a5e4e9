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
    FocusQuery,
    RenderedFile,
)
from finpool.billing.errors import CharacterNotPrintable, InvoiceNotFound
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import Responses, refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires

router = APIRouter(prefix="/v1/organization", tags=["invoices"], route_class=DoorRoute)

InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]


def files(formats: Iterable[str]) -> Responses:
    """Return the `responses` of a route that answers with a file in one of the formats."""
    return {200: {"content": {MEDIA_TYPES[each].partition(";")[0]: {} for each in formats}}}


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
    return sent(await render_service.document(session, actor.tenant, invoice_id, query.format, drafts=False))


@router.get("/focus", response_class=Response, responses=files(FocusFormat))
async def focus_file(
    request: Request, actor: InvoiceReader, session: TenantSession, query: Annotated[FocusQuery, Query()]
) -> Response:
    """Return the tenant's invoiced charges of some months in FOCUS 1.3, as CSV or Parquet."""
    catalogue: Catalogue = request.app.state.catalogue
    return sent(await render_service.focus_file(session, actor.tenant, query, catalogue.all()))


def sent(file: RenderedFile) -> Response:
    """Return a file as a response that browsers save."""
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return Response(file.content, media_type=file.media_type, headers=headers)
