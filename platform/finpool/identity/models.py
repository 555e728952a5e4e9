"""Tables of credentials; they hold digests only, never a secret."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import DateTime, ForeignKeyConstraint, LargeBinary, Text
from sqlmodel import Field, SQLModel


class CredentialStatus(StrEnum):
    """The status of a credential. Revocation is final; create a new key instead."""

    ACTIVE = "active"
    REVOKED = "revoked"


class ApiKey(SQLModel, table=True):
    """A tenant's key. It belongs to one project and acts with one role; `hint` is its last four characters."""

    __tablename__ = "api_key"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "project_id"], ["project.tenant_id", "project.project_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(primary_key=True, sa_type=Text)
    project_id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    hint: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class PlatformToken(SQLModel, table=True):
    """A token of an operator or a regulator."""

    __tablename__ = "platform_token"

    token_id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    status: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
