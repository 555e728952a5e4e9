"""Tables of tenants and their projects."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, DateTime, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel


class TenantStatus(StrEnum):
    """The status of a tenant. A suspended tenant's keys are refused at once; nothing is deleted.

    A suspension refuses new requests; requests that were admitted before it run to their end.
    """

    ACTIVE = "active"
    SUSPENDED = "suspended"


class ProjectStatus(StrEnum):
    """The status of a project. An archived project's keys are refused; its usage records stay."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class Tenant(SQLModel, table=True):
    """An institution. `models` lists the models of its contract (`*`: every shared model); `version` counts changes."""

    tenant_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    models: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    version: int
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


class Project(SQLModel, table=True):
    """A unit within a tenant; each key and each usage record belongs to one project.

    `archived_at` is null for an active project, and for one that was archived before the moment was kept.
    """

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    project_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    archived_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
