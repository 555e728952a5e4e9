"""The operators' route of service shares at a busy engine."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.billing.service_share import service
from finpool.billing.service_share.schemas import ServiceShareList, ServiceShareQuery
from finpool.catalogue.errors import ModelNotFound
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires

router = APIRouter(tags=["usage"], route_class=DoorRoute)


@router.get(
    "/v1/models/{model_id}/service-shares",
    dependencies=[Depends(requires("usage:read"))],
    responses=refusals(ModelNotFound),
)
async def list_service_shares(
    model_id: str, request: Request, session: SectorSession, query: Annotated[ServiceShareQuery, Query()]
) -> ServiceShareList:
    """Return the service of a model's engine to each tenant per time window, beside its entitled share."""
    return await service.service_shares_across_tenants(session, request.app.state.catalogue, model_id, query)
