"""The operators' route of leases."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from finpool.kernel.actor import Actor
from finpool.kernel.door.web import DoorRoute, SectorSession, requires
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.quota.lease import service as lease_service
from finpool.quota.lease.schemas import LeaseList
from finpool.quota.schemas import (
    SCOPE_ID_PATTERN,
)

router = APIRouter(prefix="/v1/leases", tags=["quota"], route_class=DoorRoute)

ScopeId = Annotated[str, Path(pattern=SCOPE_ID_PATTERN)]
LimitsWriter = Annotated[Actor, Depends(requires("limits:write"))]
AccountReader = Annotated[Actor, Depends(requires("account:read"))]


@router.get("")
async def list_leases(
    _: AccountReader, session: SectorSession, tenant_id: Annotated[TenantId | None, Query(pattern=SLUG_PATTERN)] = None
) -> LeaseList:
    """List the open leases, the oldest first, with the replica and the spool of each."""
    return LeaseList(data=await lease_service.open_leases(session, tenant_id))
