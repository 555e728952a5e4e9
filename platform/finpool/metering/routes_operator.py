"""Usage over all tenants, for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from finpool.kernel.web import DoorRoute, SectorSession, requires
from finpool.metering import service
from finpool.metering.schemas import UsageList, UsageQuery

router = APIRouter(tags=["usage"], route_class=DoorRoute)


@router.get("/v1/usage", dependencies=[Depends(requires("usage:read"))])
async def list_usage(session: SectorSession, query: Annotated[UsageQuery, Query()]) -> UsageList:
    """Return usage settled between `from` and `to`, grouped, always by currency too."""
    groups = await service.usage(
        session, start=query.start, end=query.end, group_by=query.group_by, tenant_id=query.tenant_id
    )
    return UsageList(start=query.start, end=query.end, group_by=query.group_by, data=groups)
