"""A tenant's own audit trail, in OpenAI's shape."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from finpool.audit import service
from finpool.audit.schemas import TrailPage
from finpool.kernel.actor import Actor
from finpool.kernel.door.web import DoorRoute, TenantSession, requires

PAGE_MAX = 100

router = APIRouter(prefix="/v1/organization", tags=["audit"], route_class=DoorRoute)


@router.get("/audit_logs")
async def list_audit_logs(
    actor: Annotated[Actor, Depends(requires("audit:read"))],
    session: TenantSession,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 20,
    after: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
) -> TrailPage:
    """List the events of the actor's tenant, the newest first."""
    return await service.trail(session, actor.tenant, after=after, limit=limit)
