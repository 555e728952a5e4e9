"""The operators' routes of limits and accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends

from finpool.kernel.actor import Actor
from finpool.kernel.web import DoorRoute, SectorSession, TenantPath, requires
from finpool.quota import service
from finpool.quota.schemas import AccountView, Limits
from finpool.tenancy import service as tenancy

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["quota"], route_class=DoorRoute)

LimitsWriter = Annotated[Actor, Depends(requires("limits:write"))]
AccountReader = Annotated[Actor, Depends(requires("account:read"))]


@router.put("/limits")
async def set_limits(tenant_id: TenantPath, body: Limits, actor: LimitsWriter, session: SectorSession) -> Limits:
    """Set a tenant's limits; they act on the next request, on every replica, within two seconds."""
    return await service.set_limits(session, actor, tenant_id, body)


@router.get("/limits")
async def get_limits(tenant_id: TenantPath, _: AccountReader, session: SectorSession) -> Limits:
    """Return the limits in force."""
    await tenancy.get_tenant(session, tenant_id)
    return await service.limits_of(session, tenant_id)


@router.get("/account")
async def get_account(tenant_id: TenantPath, _: AccountReader, session: SectorSession) -> AccountView:
    """Return a tenant's account: the limit, what is posted and what is pending, in micros."""
    await tenancy.get_tenant(session, tenant_id)
    return await service.account_view(session, tenant_id)
