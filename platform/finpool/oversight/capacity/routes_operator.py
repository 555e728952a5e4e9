"""What fits into the pool and what is left of it, for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.kernel.web import DoorRoute, SectorSession, requires
from finpool.oversight.capacity import service
from finpool.oversight.capacity.schemas import CapacityQuery, CapacityView, EstimateQuery, EstimateView

router = APIRouter(prefix="/v1/capacity", tags=["capacity"], route_class=DoorRoute)


@router.get("", dependencies=[Depends(requires("model:read"))])
async def show_capacity(
    request: Request, session: SectorSession, query: Annotated[CapacityQuery, Query()]
) -> CapacityView:
    """Return nodes, engines, measured rates, recent use, and how many more engines fit where."""
    return await service.capacity(session, request.app.state.catalogue, query.window_seconds)


@router.get("/estimate", dependencies=[Depends(requires("model:read"))])
async def estimate_capacity(
    request: Request, session: SectorSession, query: Annotated[EstimateQuery, Query()]
) -> EstimateView:
    """Return what a bank of these rates would need of a model's engines."""
    return await service.estimate(session, request.app.state.catalogue, query)
