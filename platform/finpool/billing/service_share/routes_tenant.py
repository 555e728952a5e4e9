"""A tenant's route of its own service share at a busy engine."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.billing.service_share import service
from finpool.billing.service_share.schemas import OwnServiceShareList, OwnServiceShareQuery
from finpool.catalogue.errors import ModelNotFound
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires

router = APIRouter(tags=["usage"], route_class=DoorRoute)


@router.get("/v1/organization/models/{model_id}/service-share", responses=refusals(ModelNotFound))
async def list_own_service_shares(
    model_id: str,
    request: Request,
    actor: Annotated[Actor, Depends(requires("usage:read"))],
    session: TenantSession,
    query: Annotated[OwnServiceShareQuery, Query()],
) -> OwnServiceShareList:
    """Return the tenant's own service share per time window, beside its entitled share; no other tenant's."""
    return await service.own_service_shares(session, request.app.state.catalogue, actor.tenant, model_id, query)
