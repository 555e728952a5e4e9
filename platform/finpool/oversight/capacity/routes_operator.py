"""The operators' routes for the capacity of the engine pool."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.catalogue.errors import ModelNotFound
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires
from finpool.oversight.capacity import service
from finpool.oversight.capacity.schemas import CapacityQuery, CapacityView, EstimateQuery, EstimateView
from finpool.oversight.errors import NotMeasured

router = APIRouter(prefix="/v1/capacity", tags=["capacity"], route_class=DoorRoute)


@router.get("", dependencies=[Depends(requires("model:read"))])
async def show_capacity(
    request: Request, session: SectorSession, query: Annotated[CapacityQuery, Query()]
) -> CapacityView:
    """Return nodes, engines, measured rates, recent use, and the number of further engines that fit on each kind of
    node.
    """
    return await service.capacity(session, request.app.state.catalogue, query.window_seconds)


@router.get("/estimate", dependencies=[Depends(requires("model:read"))], responses=refusals(ModelNotFound, NotMeasured))
async def estimate_capacity(
    request: Request, session: SectorSession, query: Annotated[EstimateQuery, Query()]
) -> EstimateView:
    """Return the engines that a new bank of these token rates would need."""
    return await service.estimate(session, request.app.state.catalogue, query)
