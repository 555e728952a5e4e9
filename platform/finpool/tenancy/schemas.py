"""Tenants and projects: the view for other domains, request bodies and answers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from finpool.kernel.ids import SLUG_PATTERN, ProjectId, TenantId
from finpool.kernel.names import NAME_LENGTH_MAX, plain_name
from finpool.kernel.paging import Listed, PageQuery
from finpool.tenancy.models import Project, ProjectStatus, Tenant, TenantStatus

ALL_MODELS = "*"
"""Stands in a tenant's `models` for every shared model of the catalogue, also those added later."""

MODELS_MAX = 500

Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
"""A DNS label of 1 to 63 lower-case letters, digits or hyphens."""

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_LENGTH_MAX),
    AfterValidator(plain_name),
]
"""A display name in any script, without invisible characters."""


def _grants_are_plain(models: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(models)) != len(models):
        raise ValueError("names a model twice")
    if ALL_MODELS in models and len(models) > 1:
        raise ValueError(f"'{ALL_MODELS}' stands for every model and must stand alone")
    return models


Models = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)], ...],
    Field(max_length=MODELS_MAX, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_grants_are_plain),
]
"""Model ids; an empty list grants no model. The service checks the ids against the catalogue."""


@dataclass(frozen=True, slots=True)
class HeldTenant:
    """A tenant as other domains see it, held in memory. `version` grows with each change."""

    tenant_id: TenantId
    name: str
    status: TenantStatus
    models: tuple[str, ...]
    version: int

    @property
    def active(self) -> bool:
        """Whether the tenant's requests are admitted; a suspended tenant's are refused."""
        return self.status == TenantStatus.ACTIVE


class RequestBody(BaseModel):
    """Base of every request body; it refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChangeBody(RequestBody):
    """Base of every body that changes an object: an omitted field keeps its value, and null is refused."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each field without null, which stands in the annotations for an omitted field only."""
        described = handler.resolve_ref_schema(handler(schema))
        for name, field in described["properties"].items():
            (kept,) = [each for each in field.pop("anyOf") if each != {"type": "null"}]
            del field["default"]
            described["properties"][name] = {**kept, **field}
        return described

    @model_validator(mode="after")
    def _no_field_is_null(self) -> Self:
        nulls = sorted(field for field in self.model_fields_set if getattr(self, field) is None)
        if nulls:
            raise ValueError(f"{', '.join(nulls)} must not be null; leave a field out to keep its value")
        return self


class NewTenant(RequestBody):
    """Body that creates a tenant."""

    id: Slug
    name: Name
    models: Models = (ALL_MODELS,)


class TenantChange(ChangeBody):
    """Body that changes a tenant."""

    name: Name | None = None
    status: TenantStatus | None = None
    models: Models | None = None


class NewProject(RequestBody):
    """Body that creates a project."""

    id: Slug
    name: Name


class ProjectChange(ChangeBody):
    """Body that changes a project."""

    name: Name | None = None
    status: ProjectStatus | None = None


class TenantView(Listed):
    """A tenant in a response. `created_at` is in Unix seconds."""

    object: Literal["tenant"] = "tenant"
    id: TenantId
    name: str
    status: TenantStatus
    models: tuple[str, ...]
    version: int
    created_at: int

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """Return the response for a row."""
        return cls(
            id=TenantId(tenant.tenant_id),
            name=tenant.name,
            status=TenantStatus(tenant.status),
            models=tuple(tenant.models),
            version=tenant.version,
            created_at=unix_seconds(tenant.created_at),
        )


class OwnProjectsQuery(PageQuery):
    """A part of a tenant's own projects, as OpenAI's client asks for it."""

    limit: int = Field(20, ge=1, le=100)
    include_archived: bool = False


class ProjectView(Listed):
    """A project in a response. Times are in Unix seconds; `archived_at` is as in `OwnProjectView`."""

    object: Literal["project"] = "project"
    id: ProjectId
    tenant_id: TenantId
    name: str
    status: ProjectStatus
    created_at: int
    archived_at: int | None

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the response for a row."""
        return cls(
            id=ProjectId(project.project_id),
            tenant_id=TenantId(project.tenant_id),
            name=project.name,
            status=ProjectStatus(project.status),
            created_at=unix_seconds(project.created_at),
            archived_at=_archived_at(project),
        )


class OwnProjectView(Listed):
    """A project of the caller's own tenant, in OpenAI's shape. Times are in Unix seconds.

    `archived_at` is null for an active project, and for one that was archived before the platform kept the time.
    """

    object: Literal["organization.project"] = "organization.project"
    id: ProjectId
    name: str
    created_at: int
    archived_at: int | None
    status: ProjectStatus

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the response for a row."""
        return cls(
            id=ProjectId(project.project_id),
            name=project.name,
            created_at=unix_seconds(project.created_at),
            archived_at=_archived_at(project),
            status=ProjectStatus(project.status),
        )


def _archived_at(project: Project) -> int | None:
    return None if project.archived_at is None else unix_seconds(project.archived_at)


def unix_seconds(moment: datetime) -> int:
    """Return whole seconds since 1970, the format of times in OpenAI's API."""
    return int(moment.timestamp())
