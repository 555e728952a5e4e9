"""Queries on credentials; each filters by tenant, or says in its name that it reads across tenants."""

from collections.abc import Sequence

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.identity.models import ApiKey, CredentialStatus, PlatformToken
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import KeyId, TenantId


async def keys(session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int) -> Sequence[ApiKey]:
    """Return at most `limit` of the tenant's keys after the key `after`, the oldest first; none after another's key."""
    created_at, key_id = col(ApiKey.created_at), col(ApiKey.key_id)
    own = statement = rows_of(tenant_id, ApiKey)
    if after is not None:
        place = own.where(key_id == after).with_only_columns(created_at).scalar_subquery()
        statement = statement.where(or_(created_at > place, and_(created_at == place, key_id > after)))
    return (await session.execute(statement.order_by(created_at, key_id).limit(limit))).scalars().all()


async def key_for_change(session: AsyncSession, tenant_id: TenantId, key_id: KeyId) -> ApiKey | None:
    """Return the tenant's key and lock its row until the transaction ends."""
    statement = rows_of(tenant_id, ApiKey).where(col(ApiKey.key_id) == key_id)
    return (await session.execute(statement.with_for_update())).scalar_one_or_none()


async def has_key(session: AsyncSession, tenant_id: TenantId, key_id: KeyId) -> bool:
    """Tell whether the tenant has this key; the database lets a tenant's role read key ids, but no digests."""
    statement = rows_of(tenant_id, ApiKey).where(col(ApiKey.key_id) == key_id).with_only_columns(col(ApiKey.key_id))
    return (await session.execute(statement)).first() is not None


async def active_keys_across_tenants(session: AsyncSession, tenant_id: TenantId | None) -> Sequence[ApiKey]:
    """Return the keys that are not revoked, of one tenant or of all for None."""
    every = select(ApiKey) if tenant_id is None else rows_of(tenant_id, ApiKey)
    statement = every.where(col(ApiKey.status) == CredentialStatus.ACTIVE)
    return (await session.execute(statement)).scalars().all()


async def active_platform_token(session: AsyncSession, digest: bytes) -> PlatformToken | None:
    """Return the active token with this digest, or None."""
    statement = select(PlatformToken).where(
        col(PlatformToken.digest) == digest, col(PlatformToken.status) == CredentialStatus.ACTIVE
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def platform_tokens(session: AsyncSession) -> Sequence[PlatformToken]:
    """Return all operators' and regulators' tokens, the oldest first."""
    statement = select(PlatformToken).order_by(col(PlatformToken.created_at), col(PlatformToken.token_id))
    return (await session.execute(statement)).scalars().all()


async def platform_token_for_change(session: AsyncSession, token_id: str) -> PlatformToken | None:
    """Return one token and lock its row until the transaction ends."""
    statement = select(PlatformToken).where(col(PlatformToken.token_id) == token_id).with_for_update()
    return (await session.execute(statement)).scalar_one_or_none()
