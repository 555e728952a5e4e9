"""The operators' routes of limits and accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from finpool.audit.errors import AuditEntryTooLarge
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, TenantPath, requires
from finpool.quota.account import service as account_service
from finpool.quota.errors import LimitSubjectNotFound, TooManyLimits
from finpool.quota.limit import service as limit_service
from finpool.quota.schemas import (
    SCOPE_ID_PATTERN,
    AccountView,
    LimitKey,
    LimitList,
    Limits,
    LimitView,
    Scope,
    SetBy,
)
from finpool.tenancy import service as tenancy
from finpool.tenancy.errors import TenantNotFound

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["quota"], route_class=DoorRoute)

ScopeId = Annotated[str, Path(pattern=SCOPE_ID_PATTERN)]
LimitsWriter = Annotated[Actor, Depends(requires("limits:write"))]
AccountReader = Annotated[Actor, Depends(requires("account:read"))]


@router.put(
    "/limits/{scope}/{scope_id}",
    responses=refusals(TenantNotFound, LimitSubjectNotFound, TooManyLimits, AuditEntryTooLarge),
)
async def set_limits(
    tenant_id: TenantPath,
    scope: Scope,
    scope_id: ScopeId,
    body: Limits,
    actor: LimitsWriter,
    session: SectorSession,
) -> LimitView:
    """Set the operator's limits on a tenant, or on its project, key or model; an omitted limit is unlimited.

    They act on the next request, on every replica, within two seconds, also on leased amounts.
    """
    key = LimitKey(SetBy.OPERATOR, scope, scope_id)
    return await limit_service.set_limits(session, actor, tenant_id, key, body)


@router.get("/limits", responses=refusals(TenantNotFound))
async def list_limits(tenant_id: TenantPath, _: AccountReader, session: SectorSession) -> LimitList:
    """List a tenant's limits, including those of its owner."""
    await tenancy.get_tenant(session, tenant_id)
    return LimitList(data=await limit_service.list_limits(session, tenant_id))


@router.get("/account", responses=refusals(TenantNotFound))
async def get_account(tenant_id: TenantPath, _: AccountReader, session: SectorSession) -> AccountView:
    """Return a tenant's account and budgets in micros: limits, posted and pending amounts."""
    await tenancy.get_tenant(session, tenant_id)
    return await account_service.account_view(session, tenant_id)
