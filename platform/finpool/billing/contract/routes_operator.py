"""The operators' routes of contracts and of the pool's cost."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.billing.contract import service
from finpool.billing.contract.errors import PaymentChangesAtOnce, PoolCostNotSet, SharesOvercommitted
from finpool.billing.contract.schemas import ContractList, ContractView, NewContract, NewPoolCost, PoolMonthView
from finpool.billing.errors import NotAWholeAmount
from finpool.catalogue.errors import BeginsInThePast, BeginsTooLate
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, TenantPath, requires
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(prefix="/v1", tags=["contracts"], route_class=DoorRoute)

ContractReader = Annotated[Actor, Depends(requires("contract:read"))]
ContractWriter = Annotated[Actor, Depends(requires("contract:write"))]
MonthPath = Annotated[str, Path(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="A month such as 2026-11.")]


@router.post(
    "/tenants/{tenant_id}/contracts",
    status_code=201,
    responses=refusals(
        TenantNotFound, BeginsInThePast, BeginsTooLate, PaymentChangesAtOnce, SharesOvercommitted, AuditEntryTooLarge
    ),
)
async def set_contract(
    tenant_id: TenantPath, body: NewContract, actor: ContractWriter, session: SectorSession
) -> ContractView:
    """Set a tenant's contract from now on or from a later moment."""
    return await service.set_contract(session, actor, tenant_id, body)


@router.get("/tenants/{tenant_id}/contracts", responses=refusals(TenantNotFound))
async def list_contracts(tenant_id: TenantPath, _: ContractReader, session: SectorSession) -> ContractList:
    """List a tenant's contracts, the latest first."""
    return await service.contracts_of(session, tenant_id)


@router.put("/pool-costs/{month}", responses=refusals(NotAWholeAmount, AuditEntryTooLarge))
async def set_pool_cost(
    month: MonthPath, body: NewPoolCost, request: Request, actor: ContractWriter, session: SectorSession
) -> PoolMonthView:
    """Set the pool's cost of a month, and return the members' fees."""
    catalogue: Catalogue = request.app.state.catalogue
    return await service.set_pool_cost(session, actor, _month(month), catalogue.currency, body)


@router.get("/pool-costs/{month}", responses=refusals(PoolCostNotSet))
async def get_pool_cost(month: MonthPath, _: ContractReader, session: SectorSession) -> PoolMonthView:
    """Return the pool's cost of a month and each member's fee."""
    return await service.pool_month(session, _month(month))


def _month(month: str) -> date:
    return date.fromisoformat(f"{month}-01")
