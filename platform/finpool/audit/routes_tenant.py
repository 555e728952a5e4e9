"""A tenant's own audit trail, in OpenAI's shape."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.audit import service
from finpool.audit.errors import SearchTooBroad
from finpool.audit.schemas import TrailPage, TrailQuery
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires
from finpool.kernel.errors import UnsupportedQueryParameter

router = APIRouter(prefix="/v1/organization", tags=["audit"], route_class=DoorRoute)


@router.get("/audit_logs", responses=refusals(UnsupportedQueryParameter, SearchTooBroad))
async def list_audit_logs(
    request: Request,
    actor: Annotated[Actor, Depends(requires("audit:read"))],
    session: TenantSession,
    query: Annotated[TrailQuery, Query()],
) -> TrailPage:
    """List the events of the actor's tenant, the newest first, and say how fresh the list is."""
    return await service.trail(session, actor.tenant, query, request.app.state.audit_waiting_seconds_max)
