"""Read-only queries over the tables of several domains, for supervisors."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

# One row per tenant: each subquery reads an index that begins with the tenant.
_INSTITUTIONS = text("""
    SELECT tenant.tenant_id, tenant.name, tenant.status, tenant.models, tenant.created_at,
           (SELECT count(*) FROM project WHERE project.tenant_id = tenant.tenant_id) AS projects,
           (SELECT min(settled_at) FROM usage_record WHERE usage_record.tenant_id = tenant.tenant_id) AS first_used_at,
           (SELECT max(settled_at) FROM usage_record WHERE usage_record.tenant_id = tenant.tenant_id) AS last_used_at,
           recent.requests,
           recent.input_tokens + adjusted.input_tokens AS input_tokens,
           recent.output_tokens + adjusted.output_tokens AS output_tokens
    FROM tenant, LATERAL (
        SELECT count(*) AS requests,
               coalesce(sum(input_tokens), 0) AS input_tokens,
               coalesce(sum(output_tokens), 0) AS output_tokens
        FROM usage_record WHERE usage_record.tenant_id = tenant.tenant_id AND settled_at >= :since
    ) AS recent, LATERAL (
        SELECT coalesce(sum(input_tokens), 0) AS input_tokens,
               coalesce(sum(output_tokens), 0) AS output_tokens
        FROM usage_adjustment WHERE usage_adjustment.tenant_id = tenant.tenant_id AND recorded_at >= :since
    ) AS adjusted
    WHERE tenant.tenant_id > :after
    ORDER BY tenant.tenant_id
    LIMIT :limit
""")


async def institutions_across_tenants(
    session: AsyncSession, *, since: datetime, after: str | None, limit: int
) -> Sequence[RowMapping]:
    """Return at most `limit` tenants after `after`: projects, first and last use, and token sums since `since`."""
    parameters: dict[str, Any] = {"since": since, "after": after or "", "limit": limit}
    return (await session.execute(_INSTITUTIONS, parameters)).mappings().all()
