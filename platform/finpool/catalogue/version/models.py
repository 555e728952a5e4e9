"""Tables of a model's versions and of the routing of its requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class ModelVersion(SQLModel, table=True):
    """One version of a model. `declaration` never changes; the other columns hold its state."""

    __tablename__ = "model_version"

    model_id: str = Field(primary_key=True, sa_type=Text)
    version: str = Field(primary_key=True, sa_type=Text)
    declaration: dict[str, Any] = Field(sa_type=JSONB)
    declaration_sha256: str = Field(sa_type=Text)
    weights_sha256: str = Field(sa_type=Text)
    licence: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    licence_accepted_by: str | None = Field(default=None, sa_type=Text)
    licence_accepted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    progress: str | None = Field(default=None, sa_type=Text)
    fault: str | None = Field(default=None, sa_type=Text)
    measurements: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    proposed_by: str = Field(sa_type=Text)
    proposed_at: datetime = Field(sa_type=DateTime(timezone=True))
    changed_at: datetime = Field(sa_type=DateTime(timezone=True))


class ModelRouting(SQLModel, table=True):
    """The versions' shares of a model's requests, in basis points; the row with the highest number is the target."""

    __tablename__ = "model_routing"

    model_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=Integer)
    shares: dict[str, int] = Field(sa_type=JSONB)
    created_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
