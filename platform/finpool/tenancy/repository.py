"""Queries on tenants and projects; each filters by tenant, or says in its name that it reads across tenants."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import ProjectId, TenantId
from finpool.tenancy.models import Project, ProjectStatus, Tenant


async def add_tenant(session: AsyncSession, tenant: Tenant) -> bool:
    """Insert the tenant; return False if its id is taken."""
    statement = insert(Tenant).values(tenant.model_dump()).on_conflict_do_nothing().returning(col(Tenant.tenant_id))
    return (await session.execute(statement)).first() is not None


async def add_project(session: AsyncSession, project: Project) -> bool:
    """Insert the project; return False if its id is taken in its tenant."""
    statement = insert(Project).values(project.model_dump()).on_conflict_do_nothing().returning(col(Project.project_id))
    return (await session.execute(statement)).first() is not None


async def tenant(session: AsyncSession, tenant_id: TenantId, *, for_change: bool = False) -> Tenant | None:
    """Return the tenant, or None; with `for_change` lock its row until the transaction ends."""
    statement = rows_of(tenant_id, Tenant)
    return (await session.execute(statement.with_for_update() if for_change else statement)).scalar_one_or_none()


async def lock_tenant(session: AsyncSession, tenant_id: TenantId) -> None:
    """Lock the tenant's row until the transaction ends; rows that refer to it can still be written."""
    locked = rows_of(tenant_id, Tenant).with_only_columns(col(Tenant.tenant_id))
    await session.execute(locked.with_for_update(key_share=True))


async def project(
    session: AsyncSession, tenant_id: TenantId, project_id: ProjectId, *, for_change: bool = False
) -> Project | None:
    """Return the tenant's project, or None; with `for_change` lock its row until the transaction ends."""
    statement = rows_of(tenant_id, Project).where(col(Project.project_id) == project_id)
    return (await session.execute(statement.with_for_update() if for_change else statement)).scalar_one_or_none()


async def projects(
    session: AsyncSession,
    tenant_id: TenantId,
    *,
    after: str | None = None,
    limit: int | None = None,
    archived: bool = True,
) -> Sequence[Project]:
    """Return the tenant's projects, ordered by id: those after the id `after`, at most `limit` of them.

    Archived ones are left out unless `archived`.
    """
    statement = rows_of(tenant_id, Project).where(col(Project.project_id) > (after or ""))
    if not archived:
        statement = statement.where(col(Project.status) == ProjectStatus.ACTIVE)
    return (await session.execute(statement.order_by(col(Project.project_id)).limit(limit))).scalars().all()


async def tenants_across_tenants(
    session: AsyncSession, *, after: str | None = None, limit: int | None = None
) -> Sequence[Tenant]:
    """Return at most `limit` tenants after the id `after`, ordered by id, as far as the database role may see them."""
    statement = select(Tenant).where(col(Tenant.tenant_id) > (after or ""))
    return (await session.execute(statement.order_by(col(Tenant.tenant_id)).limit(limit))).scalars().all()


async def projects_across_tenants(session: AsyncSession) -> Sequence[Project]:
    """Return every project that the database role may see."""
    return (await session.execute(select(Project))).scalars().all()
