"""A tenant's own account and limits; its owners may tighten the operator's limits."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from finpool.audit.errors import AuditEntryTooLarge
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires
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

router = APIRouter(prefix="/v1/organization", tags=["quota"], route_class=DoorRoute)

ScopeId = Annotated[str, Path(pattern=SCOPE_ID_PATTERN)]
LimitsWriter = Annotated[Actor, Depends(requires("limits:write"))]
AccountReader = Annotated[Actor, Depends(requires("account:read"))]


@router.put("/limits/{scope}/{scope_id}", responses=refusals(LimitSubjectNotFound, TooManyLimits, AuditEntryTooLarge))
async def set_limits(
    scope: Scope, scope_id: ScopeId, body: Limits, actor: LimitsWriter, session: TenantSession
) -> LimitView:
    """Set the tenant's own limits on itself, or on a project, key or model; the operator's limits also hold."""
    key = LimitKey(SetBy.TENANT, scope, scope_id)
    return await limit_service.set_limits(session, actor, actor.tenant, key, body)


@router.get("/limits")
async def list_limits(actor: AccountReader, session: TenantSession) -> LimitList:
    """List the limits in force, the operator's and the tenant's own."""
    return LimitList(data=await limit_service.list_limits(session, actor.tenant))


@router.get("/account")
async def get_account(actor: AccountReader, session: TenantSession) -> AccountView:
    """Return the tenant's account and budgets in micros: limits, posted and pending amounts."""
    return await account_service.account_view(session, actor.tenant)
