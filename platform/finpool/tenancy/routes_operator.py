"""Operators' routes for tenants and projects."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, SectorSession, TenantPath, requires
from finpool.kernel.ids import SLUG_PATTERN, ModelId, ProjectId
from finpool.kernel.paging import ListPage
from finpool.tenancy import service
from finpool.tenancy.errors import (
    ModelNotOffered,
    ProjectAlreadyExists,
    ProjectNotFound,
    TenantAlreadyExists,
    TenantNotFound,
)
from finpool.tenancy.schemas import (
    NewProject,
    NewTenant,
    ProjectChange,
    ProjectView,
    TenantChange,
    TenantView,
)

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=DoorRoute)

ProjectPath = Annotated[ProjectId, Path(pattern=SLUG_PATTERN)]
TenantReader = Annotated[Actor, Depends(requires("tenant:read"))]
TenantWriter = Annotated[Actor, Depends(requires("tenant:write"))]
ProjectReader = Annotated[Actor, Depends(requires("project:read"))]
ProjectWriter = Annotated[Actor, Depends(requires("project:write"))]


def _offered(request: Request) -> frozenset[ModelId]:
    offered: frozenset[ModelId] = request.app.state.model_ids
    return offered


OfferedModels = Annotated[frozenset[ModelId], Depends(_offered)]


@router.post("", status_code=201, responses=refusals(ModelNotOffered, TenantAlreadyExists, AuditEntryTooLarge))
async def create_tenant(
    body: NewTenant, actor: TenantWriter, session: SectorSession, offered: OfferedModels
) -> TenantView:
    """Create a tenant."""
    return TenantView.of(await service.create_tenant(session, actor, body, offered))


@router.get("")
async def list_tenants(_: TenantReader, session: SectorSession, query: Page) -> ListPage[TenantView]:
    """List tenants, ordered by id."""
    return await service.list_tenants(session, query)


@router.get("/{tenant_id}", responses=refusals(TenantNotFound))
async def get_tenant(tenant_id: TenantPath, _: TenantReader, session: SectorSession) -> TenantView:
    """Return one tenant."""
    return TenantView.of(await service.get_tenant(session, tenant_id))


@router.patch("/{tenant_id}", responses=refusals(TenantNotFound, ModelNotOffered, AuditEntryTooLarge))
async def change_tenant(
    tenant_id: TenantPath, body: TenantChange, actor: TenantWriter, session: SectorSession, offered: OfferedModels
) -> TenantView:
    """Rename, suspend or reactivate a tenant, or change the models of its contract."""
    return TenantView.of(await service.change_tenant(session, actor, tenant_id, body, offered))


@router.post(
    "/{tenant_id}/projects",
    status_code=201,
    responses=refusals(TenantNotFound, ProjectAlreadyExists, AuditEntryTooLarge),
)
async def create_project(
    tenant_id: TenantPath, body: NewProject, actor: ProjectWriter, session: SectorSession
) -> ProjectView:
    """Create a project of a tenant."""
    return ProjectView.of(await service.create_project(session, actor, tenant_id, body))


@router.get("/{tenant_id}/projects", responses=refusals(TenantNotFound))
async def list_projects(
    tenant_id: TenantPath, _: ProjectReader, session: SectorSession, query: Page
) -> ListPage[ProjectView]:
    """List a tenant's projects, ordered by id."""
    return await service.list_projects(session, tenant_id, query)


@router.patch(
    "/{tenant_id}/projects/{project_id}", responses=refusals(TenantNotFound, ProjectNotFound, AuditEntryTooLarge)
)
async def change_project(
    tenant_id: TenantPath, project_id: ProjectPath, body: ProjectChange, actor: ProjectWriter, session: SectorSession
) -> ProjectView:
    """Rename, archive or reactivate a project."""
    return ProjectView.of(await service.change_project(session, actor, tenant_id, project_id, body))
