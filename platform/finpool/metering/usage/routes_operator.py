"""The operators' routes of usage: sums over all tenants, estimated usage and its correction."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from finpool.audit.errors import AuditEntryTooLarge
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, SectorSession, TenantPath, requires
from finpool.kernel.paging import ListPage
from finpool.metering.correction import service as correction_service
from finpool.metering.correction.schemas import (
    REQUEST_ID_PATTERN,
    CorrectedUsageView,
    EstimatedUsageView,
    NewCorrection,
)
from finpool.metering.errors import CorrectionRefused, UsageNotFound
from finpool.metering.usage import service
from finpool.metering.usage.schemas import UsageList, UsageQuery
from finpool.tenancy import service as tenancy
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(tags=["usage"], route_class=DoorRoute)

RequestPath = Annotated[str, Path(pattern=REQUEST_ID_PATTERN)]


@router.get("/v1/usage", dependencies=[Depends(requires("usage:read"))])
async def list_usage(session: SectorSession, query: Annotated[UsageQuery, Query()]) -> UsageList:
    """Return usage admitted between `from` and `to`, grouped as asked and always by currency."""
    groups = await service.usage(
        session, start=query.start, end=query.end, group_by=query.group_by, tenant_id=query.tenant_id
    )
    return UsageList(start=query.start, end=query.end, group_by=query.group_by, data=groups)


@router.get(
    "/v1/tenants/{tenant_id}/estimated-usage",
    dependencies=[Depends(requires("usage:read"))],
    responses=refusals(TenantNotFound),
)
async def list_estimated_usage(
    tenant_id: TenantPath, session: SectorSession, page: Page
) -> ListPage[EstimatedUsageView]:
    """List a tenant's requests that were settled at their last mark after a replica crashed."""
    await tenancy.get_tenant(session, tenant_id)
    return await correction_service.estimated(session, tenant_id, page)


@router.post(
    "/v1/tenants/{tenant_id}/usage/{request_id}/corrections",
    responses=refusals(UsageNotFound, CorrectionRefused, AuditEntryTooLarge),
)
async def correct_usage(
    tenant_id: TenantPath,
    request_id: RequestPath,
    actor: Annotated[Actor, Depends(requires("usage:write"))],
    session: SectorSession,
    body: NewCorrection,
) -> CorrectedUsageView:
    """Set the true usage of an estimated request; the difference is charged or given back."""
    return await correction_service.correct(session, actor, tenant_id, request_id, body)
