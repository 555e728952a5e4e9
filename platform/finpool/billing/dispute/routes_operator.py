"""The operators' routes of disputes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.dispute import service
from finpool.billing.dispute.schemas import DisputeAnswerBody, DisputeQuery, DisputeView
from finpool.billing.errors import (
    AboveWhatIsLeft,
    AlreadyAnswered,
    DisputeNotFound,
    InvoiceNotFound,
    LineNotFound,
    NotAWholeAmount,
    ReferenceUsed,
    RequestNotFound,
    WrongInvoiceStatus,
)
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, TenantPath, requires
from finpool.kernel.paging import ListPage
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(prefix="/v1", tags=["disputes"], route_class=DoorRoute)

DisputePath = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,63}$")]
DisputeReader = Annotated[Actor, Depends(requires("dispute:read"))]
DisputeAnswerer = Annotated[Actor, Depends(requires("dispute:answer"))]


@router.get("/disputes")
async def list_disputes(
    _: DisputeReader, session: SectorSession, query: Annotated[DisputeQuery, Query()]
) -> ListPage[DisputeView]:
    """List the disputes of all tenants, of one status or of all, ordered by id."""
    return await service.list_disputes_across_tenants(session, query, query.status)


@router.post(
    "/tenants/{tenant_id}/disputes/{dispute_id}/answer",
    responses=refusals(
        TenantNotFound,
        DisputeNotFound,
        InvoiceNotFound,
        LineNotFound,
        RequestNotFound,
        AlreadyAnswered,
        WrongInvoiceStatus,
        NotAWholeAmount,
        AboveWhatIsLeft,
        ReferenceUsed,
        AuditEntryTooLarge,
    ),
)
async def answer_dispute(
    tenant_id: TenantPath,
    dispute_id: DisputePath,
    body: DisputeAnswerBody,
    actor: DisputeAnswerer,
    session: SectorSession,
) -> DisputeView:
    """Answer a dispute once; accepting it credits the disputed amount."""
    return await service.answer_dispute(session, actor, tenant_id, dispute_id, body)
