"""A tenant's own projects, in the shapes of the official client's `admin.organization.projects`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires
from finpool.kernel.ids import SLUG_PATTERN, ProjectId
from finpool.kernel.paging import ListPage
from finpool.tenancy import service
from finpool.tenancy.errors import ProjectNotFound
from finpool.tenancy.schemas import OwnProjectsQuery, OwnProjectView

router = APIRouter(prefix="/v1/organization/projects", tags=["projects"], route_class=DoorRoute)

Reader = Annotated[Actor, Depends(requires("project:read"))]


@router.get("")
async def list_own_projects(
    actor: Reader, session: TenantSession, query: Annotated[OwnProjectsQuery, Query()]
) -> ListPage[OwnProjectView]:
    """List the projects of the actor's tenant, ordered by id; archived ones only if they are asked for."""
    return await service.list_own_projects(session, actor.tenant, query)


@router.get("/{project_id}", responses=refusals(ProjectNotFound))
async def get_own_project(
    project_id: Annotated[ProjectId, Path(pattern=SLUG_PATTERN)], actor: Reader, session: TenantSession
) -> OwnProjectView:
    """Return one project of the actor's tenant, active or archived."""
    return OwnProjectView.of(await service.get_project(session, actor.tenant, project_id))
