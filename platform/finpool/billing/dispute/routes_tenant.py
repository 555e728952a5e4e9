"""A tenant's disputes of its invoice lines and requests."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.dispute import service as dispute_service
from finpool.billing.dispute.schemas import DisputeView, NewDispute
from finpool.billing.errors import (
    AlreadyDisputed,
    DisputeNotFound,
    InvoiceNotFound,
    LineNotFound,
    RequestNotFound,
    WrongInvoiceStatus,
)
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, TenantSession, requires
from finpool.kernel.paging import ListPage

router = APIRouter(prefix="/v1/organization", tags=["invoices"], route_class=DoorRoute)

IdPath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")]
InvoiceReader = Annotated[Actor, Depends(requires("invoice:read"))]
DisputeReader = Annotated[Actor, Depends(requires("dispute:read"))]
DisputeWriter = Annotated[Actor, Depends(requires("dispute:write"))]


@router.post(
    "/disputes",
    status_code=201,
    responses=refusals(
        InvoiceNotFound, LineNotFound, RequestNotFound, WrongInvoiceStatus, AlreadyDisputed, AuditEntryTooLarge
    ),
)
async def open_dispute(body: NewDispute, actor: DisputeWriter, session: TenantSession) -> DisputeView:
    """Dispute a line of an issued invoice, or a request, with a reason."""
    return await dispute_service.open_dispute(session, actor, body)


@router.get("/disputes")
async def list_disputes(actor: DisputeReader, session: TenantSession, query: Page) -> ListPage[DisputeView]:
    """List the tenant's disputes, ordered by id."""
    return await dispute_service.list_disputes(session, actor.tenant, query)


@router.get("/disputes/{dispute_id}", responses=refusals(DisputeNotFound))
async def get_dispute(dispute_id: IdPath, actor: DisputeReader, session: TenantSession) -> DisputeView:
    """Return a dispute with its answer, if it has one."""
    return await dispute_service.get_dispute(session, actor.tenant, dispute_id)
