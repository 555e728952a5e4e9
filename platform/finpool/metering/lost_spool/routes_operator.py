"""The operators' route for lost spools."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires
from finpool.metering.errors import SpoolAlive
from finpool.metering.lost_spool import service as lost_spool_service
from finpool.metering.lost_spool.schemas import LostSpoolBody, LostSpoolView

router = APIRouter(tags=["usage"], route_class=DoorRoute)


@router.post("/v1/lost-spools", responses=refusals(SpoolAlive, AuditEntryTooLarge))
async def settle_lost_spool(
    request: Request,
    body: LostSpoolBody,
    actor: Annotated[Actor, Depends(requires("usage:write"))],
    session: SectorSession,
) -> LostSpoolView:
    """Charge in full, or release, the leases of a replica's lost spool; `GET /v1/leases` names the spools."""
    catalogue: Catalogue = request.app.state.catalogue
    return await lost_spool_service.settle_lost_spool(session, actor, body, catalogue.currency)
