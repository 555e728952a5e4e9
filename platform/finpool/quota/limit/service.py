"""Limits of operators and of tenants' owners; both hold, and the tightest wins."""

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import service as audit
from finpool.identity import service as identity
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import KeyId, ProjectId, TenantId
from finpool.quota.account import postings
from finpool.quota.errors import LimitSubjectNotFound, TooManyLimits
from finpool.quota.limits import key_of, limits_of_row
from finpool.quota.models import QuotaLimit
from finpool.quota.schemas import LimitKey, Limits, LimitView, Scope, SetBy
from finpool.tenancy import service as tenancy

LIMITS_MAX = 1_000
"""The largest number of one tenant's scopes on which one party may set limits."""


async def list_limits(session: AsyncSession, tenant_id: TenantId) -> list[LimitView]:
    """Return every limit of a tenant, in a fixed order."""
    query = rows_of(tenant_id, QuotaLimit)
    order = (col(QuotaLimit.set_by), col(QuotaLimit.scope), col(QuotaLimit.scope_id))
    rows = (await session.execute(query.order_by(*order))).scalars()
    return [
        LimitView(set_by=key.set_by, scope=key.scope, scope_id=key.scope_id, limits=limits_of_row(row))
        for row, key in ((row, key_of(row)) for row in rows)
    ]


async def set_limits(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, key: LimitKey, limits: Limits
) -> LimitView:
    """Set the limits of one scope; equal limits change nothing. Raises `LimitSubjectNotFound` or `TooManyLimits`.

    They act on the next request, on every replica, within two seconds, also on leased amounts.
    """
    await _require_subject(session, tenant_id, key)
    before = await _set_limits(session, tenant_id, key)
    if limits != (before or Limits()):
        if before is None:
            await _require_place(session, tenant_id, key)
        await write_limits(session, tenant_id, key, limits)
        body = {**key.columns(), **limits.model_dump()}
        await audit.append(session, kind="limits.changed", tenant_id=tenant_id, actor=actor, body=body)
    return LimitView(set_by=key.set_by, scope=key.scope, scope_id=key.scope_id, limits=limits)


async def write_limits(session: AsyncSession, tenant_id: TenantId, key: LimitKey, limits: Limits) -> None:
    """Write the limits of one scope; an operator's first limits open the tenant's account."""
    if key.set_by is SetBy.OPERATOR:
        await postings.open_account(session, tenant_id)
    values = {**limits.model_dump(), "updated_at": now()}
    about = {"tenant_id": tenant_id, **key.columns()}
    new = insert(QuotaLimit).values(**about, **values)
    await session.execute(new.on_conflict_do_update(index_elements=list(about), set_=values))


async def _set_limits(session: AsyncSession, tenant_id: TenantId, key: LimitKey) -> Limits | None:
    query = rows_of(tenant_id, QuotaLimit).filter_by(**key.columns())
    row = (await session.execute(query)).scalar_one_or_none()
    return None if row is None else limits_of_row(row)


async def _require_place(session: AsyncSession, tenant_id: TenantId, key: LimitKey) -> None:
    """Raise `TooManyLimits` at `LIMITS_MAX` scopes: every replica holds every limit in memory."""
    query = rows_of(tenant_id, QuotaLimit).where(col(QuotaLimit.set_by) == key.set_by.value)
    if int((await session.execute(query.with_only_columns(func.count()))).scalar_one()) >= LIMITS_MAX:
        raise TooManyLimits(LIMITS_MAX)


async def _require_subject(session: AsyncSession, tenant_id: TenantId, key: LimitKey) -> None:
    tenant = await tenancy.get_tenant(session, tenant_id)
    match key.scope:
        case Scope.TENANT:
            found = key.scope_id == tenant_id
        case Scope.PROJECT:
            found = await tenancy.has_project(session, tenant_id, ProjectId(key.scope_id))
        case Scope.KEY:
            found = await identity.has_key(session, tenant_id, KeyId(key.scope_id))
        case Scope.MODEL:
            found = "*" in tenant.models or key.scope_id in tenant.models
    if not found:
        raise LimitSubjectNotFound(key.scope, key.scope_id)
