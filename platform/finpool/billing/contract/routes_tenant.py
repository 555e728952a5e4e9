"""A tenant's own contract, and its current price for each model."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from finpool.billing.contract import service
from finpool.billing.contract.schemas import OwnContractView, OwnPriceList
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.door.web import DoorRoute, TenantSession, requires

router = APIRouter(prefix="/v1/organization", tags=["contracts"], route_class=DoorRoute)


@router.get("/contract")
async def own_contract(
    actor: Annotated[Actor, Depends(requires("contract:read"))], session: TenantSession
) -> OwnContractView:
    """Return the contract in force and the contracts that begin later."""
    return await service.own_contract(session, actor.tenant)


@router.get("/prices")
async def own_prices(
    request: Request, actor: Annotated[Actor, Depends(requires("price:read"))], session: TenantSession
) -> OwnPriceList:
    """Return the tenant's current price for each model of its contract, with its discount taken off."""
    catalogue: Catalogue = request.app.state.catalogue
    return await service.own_prices(session, actor.tenant, catalogue.all())
