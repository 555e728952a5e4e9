"""The operators' routes of limits and accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends

from finpool.audit import service as audit
from finpool.kernel.actor import Actor
from finpool.kernel.ids import TenantId
from finpool.kernel.web import DoorRoute, SectorSession, requires
from finpool.quota import repository, service
from finpool.quota.schemas import AccountView, Limits
from finpool.tenancy import service as tenancy

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["quota"], route_class=DoorRoute)


@router.put("/limits")
async def set_limits(
    tenant_id: str, limits: Limits, actor: Annotated[Actor, Depends(requires("limits:write"))], session: SectorSession
) -> Limits:
    """Set a tenant's limits; they act on the next request, on every replica, within two seconds."""
    tenant = await tenancy.get_tenant(session, TenantId(tenant_id))
    await repository.set_limits(session, TenantId(tenant.tenant_id), limits)
    await audit.append(
        session, kind="limits.changed", tenant_id=TenantId(tenant_id), actor=actor, body=limits.model_dump()
    )
    return limits


@router.get("/limits")
async def get_limits(
    tenant_id: str, _: Annotated[Actor, Depends(requires("account:read"))], session: SectorSession
) -> Limits:
    """Return the limits in force."""
    tenant = await tenancy.get_tenant(session, TenantId(tenant_id))
    return await service.limits_of(session, TenantId(tenant.tenant_id))


@router.get("/account")
async def get_account(
    tenant_id: str, _: Annotated[Actor, Depends(requires("account:read"))], session: SectorSession
) -> AccountView:
    """Return a tenant's account: the limit, what is posted and what is pending, in micros."""
    tenant = await tenancy.get_tenant(session, TenantId(tenant_id))
    return await service.account_view(session, TenantId(tenant.tenant_id))
