"""A new bank, as an operator sets it up: a contract for the small model, a project, an owner's key and limits."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ModelId, TenantId
from finpool.kernel.settings import Settings
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import Limits, operator_limit
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

MODEL = ModelId("smollm2-135m-instruct")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


async def new_bank(session: AsyncSession, settings: Settings, tenant_id: str, **limits: Any) -> tuple[str, str]:
    """Create the bank with the operator's limits on it; returns its key's id and secret."""
    tenant = TenantId(tenant_id)
    await create_tenant(session, OPERATOR, NewTenant(id=tenant_id, name=tenant_id), [MODEL])
    await create_project(session, OPERATOR, tenant, NewProject(id="main", name="Main"))
    new = NewKey(project_id="main", name="test", role="owner")
    key, secret = await create_key(session, OPERATOR, tenant, new, pepper=settings.secret("key_pepper"))
    await write_limits(session, tenant, operator_limit(tenant), Limits(**limits))
    return key.key_id, secret
