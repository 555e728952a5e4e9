"""Tenants and their projects: the hot path reads them from memory, operators change them in the database."""

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import ModelId, ProjectId, TenantId, slug
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.tenancy import repository
from finpool.tenancy.errors import (
    ModelNotOffered,
    ProjectAlreadyExists,
    ProjectNotFound,
    TenantAlreadyExists,
    TenantNotFound,
)
from finpool.tenancy.models import Project, ProjectStatus, Tenant, TenantStatus
from finpool.tenancy.schemas import (
    ALL_MODELS,
    HeldTenant,
    NewProject,
    NewTenant,
    OwnProjectsQuery,
    OwnProjectView,
    ProjectChange,
    ProjectView,
    TenantChange,
    TenantView,
)


class TenantDirectory:
    """Every tenant and its active projects, in memory; a `Snapshot` that the change feed reloads."""

    def __init__(self) -> None:
        self._tenants: dict[TenantId, HeldTenant] = {}
        self._active_projects: dict[TenantId, frozenset[ProjectId]] = {}

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant again, or all tenants for None."""
        if tenant_id is None:
            await self._load_all(session)
            return
        row = await repository.tenant(session, tenant_id)
        projects = await repository.projects(session, tenant_id)
        if row is None:
            self._tenants.pop(tenant_id, None)
            self._active_projects.pop(tenant_id, None)
            return
        self._tenants[tenant_id] = _view(row)
        self._active_projects[tenant_id] = _active(projects)

    def tenant(self, tenant_id: TenantId) -> HeldTenant | None:
        """Return the tenant, or None if no tenant has this id."""
        return self._tenants.get(tenant_id)

    def tenants(self) -> tuple[HeldTenant, ...]:
        """Return all tenants."""
        return tuple(self._tenants.values())

    def project_active(self, tenant_id: TenantId, project_id: ProjectId) -> bool:
        """Tell whether the tenant has this project and the project is not archived."""
        return project_id in self._active_projects.get(tenant_id, frozenset())

    async def _load_all(self, session: AsyncSession) -> None:
        tenants = {view.tenant_id: view for view in map(_view, await repository.tenants_across_tenants(session))}
        projects: dict[TenantId, list[Project]] = {}
        for project in await repository.projects_across_tenants(session):
            projects.setdefault(TenantId(project.tenant_id), []).append(project)
        self._tenants = tenants
        self._active_projects = {tenant_id: _active(rows) for tenant_id, rows in projects.items()}


def _view(row: Tenant) -> HeldTenant:
    return HeldTenant(
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        status=TenantStatus(row.status),
        models=tuple(row.models),
        version=row.version,
    )


def _active(projects: Sequence[Project]) -> frozenset[ProjectId]:
    return frozenset(ProjectId(each.project_id) for each in projects if each.status == ProjectStatus.ACTIVE)


async def create_tenant(session: AsyncSession, actor: Actor, body: NewTenant, offered: Collection[ModelId]) -> Tenant:
    """Create a tenant; `offered` are the catalogue's models. Raises `TenantAlreadyExists` or `ModelNotOffered`."""
    _require_offered(body.models, offered)
    tenant = Tenant(
        tenant_id=body.id,
        name=body.name,
        status=TenantStatus.ACTIVE,
        models=list(body.models),
        version=1,
        created_at=now(),
    )
    if not await repository.add_tenant(session, tenant):
        raise TenantAlreadyExists(body.id)
    await audit.append(
        session,
        kind="tenant.created",
        tenant_id=TenantId(tenant.tenant_id),
        actor=actor,
        body={"name": tenant.name, "models": tenant.models, "version": tenant.version},
    )
    return tenant


async def get_tenant(session: AsyncSession, tenant_id: TenantId) -> Tenant:
    """Return one tenant; raise `TenantNotFound`, or `InvalidRequest` if the id is not a valid tenant id."""
    tenant = await repository.tenant(session, TenantId(slug(tenant_id, param="tenant_id")))
    if tenant is None:
        raise TenantNotFound(tenant_id)
    return tenant


async def lock_tenant(session: AsyncSession, tenant_id: TenantId) -> None:
    """Lock a tenant until the transaction ends, against other changes of it; its usage is recorded meanwhile."""
    await repository.lock_tenant(session, tenant_id)


async def list_tenants(session: AsyncSession, query: PageQuery) -> ListPage[TenantView]:
    """Return a page of the tenants that the session may see, ordered by id."""
    rows = await repository.tenants_across_tenants(session, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, TenantView.of)


async def change_tenant(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, body: TenantChange, offered: Collection[ModelId]
) -> Tenant:
    """Change a tenant and increase its version; equal values change nothing.

    Raises `TenantNotFound` or `ModelNotOffered`.
    """
    _require_offered(body.models or (), offered)
    tenant = await repository.tenant(session, tenant_id, for_change=True)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    changed = _changes(tenant, body.model_dump(exclude_unset=True, mode="json"))
    if changed:
        tenant.sqlmodel_update({**changed, "version": tenant.version + 1})
        await session.flush()
        record = {**changed, "version": tenant.version}
        await audit.append(session, kind="tenant.changed", tenant_id=tenant_id, actor=actor, body=record)
    return tenant


async def create_project(session: AsyncSession, actor: Actor, tenant_id: TenantId, body: NewProject) -> Project:
    """Create a project; raises `TenantNotFound` or `ProjectAlreadyExists`."""
    await get_tenant(session, tenant_id)
    project = Project(
        tenant_id=tenant_id, project_id=body.id, name=body.name, status=ProjectStatus.ACTIVE, created_at=now()
    )
    if not await repository.add_project(session, project):
        raise ProjectAlreadyExists(body.id)
    record = {"project_id": project.project_id, "name": project.name}
    await audit.append(session, kind="project.created", tenant_id=tenant_id, actor=actor, body=record)
    return project


async def require_active_project(session: AsyncSession, tenant_id: TenantId, project_id: ProjectId) -> None:
    """Raise `TenantNotFound` without the tenant, and `ProjectNotFound` without an active project of this id."""
    await get_tenant(session, tenant_id)
    project = await repository.project(session, tenant_id, project_id)
    if project is None or project.status != ProjectStatus.ACTIVE:
        raise ProjectNotFound(project_id)


async def has_project(session: AsyncSession, tenant_id: TenantId, project_id: ProjectId) -> bool:
    """Tell whether the tenant has this project, active or archived."""
    return await repository.project(session, tenant_id, project_id) is not None


async def project_names(session: AsyncSession, tenant_id: TenantId) -> dict[str, str]:
    """Return the names of the tenant's projects by their ids."""
    return {each.project_id: each.name for each in await repository.projects(session, tenant_id)}


async def list_projects(session: AsyncSession, tenant_id: TenantId, query: PageQuery) -> ListPage[ProjectView]:
    """Return a page of the tenant's projects, ordered by id; raises `TenantNotFound`."""
    await get_tenant(session, tenant_id)
    rows = await repository.projects(session, tenant_id, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, ProjectView.of)


async def list_own_projects(
    session: AsyncSession, tenant_id: TenantId, query: OwnProjectsQuery
) -> ListPage[OwnProjectView]:
    """Return a page of the tenant's projects for its own keys, ordered by id."""
    rows = await repository.projects(
        session, tenant_id, after=query.after, limit=query.limit + 1, archived=query.include_archived
    )
    return page_of(rows, query, OwnProjectView.of)


async def get_project(session: AsyncSession, tenant_id: TenantId, project_id: ProjectId) -> Project:
    """Return one project of the tenant, active or archived; raise `ProjectNotFound`."""
    project = await repository.project(session, tenant_id, project_id)
    if project is None:
        raise ProjectNotFound(project_id)
    return project


async def change_project(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, project_id: ProjectId, body: ProjectChange
) -> Project:
    """Change a project; equal values change nothing. Raises `TenantNotFound` or `ProjectNotFound`."""
    await get_tenant(session, tenant_id)
    project = await repository.project(session, tenant_id, project_id, for_change=True)
    if project is None:
        raise ProjectNotFound(project_id)
    changed = _changes(project, body.model_dump(exclude_unset=True, mode="json"))
    if changed:
        project.sqlmodel_update(changed)
        if "status" in changed:
            project.archived_at = now() if project.status == ProjectStatus.ARCHIVED else None
        await session.flush()
        record = {"project_id": project_id, **changed}
        await audit.append(session, kind="project.changed", tenant_id=tenant_id, actor=actor, body=record)
    return project


def _require_offered(grants: Collection[str], offered: Collection[ModelId]) -> None:
    unknown = sorted(set(grants) - {ALL_MODELS, *offered})
    if unknown:
        raise ModelNotOffered(unknown)


def _changes(row: Tenant | Project, wanted: dict[str, object]) -> dict[str, object]:
    return {field: value for field, value in wanted.items() if getattr(row, field) != value}
