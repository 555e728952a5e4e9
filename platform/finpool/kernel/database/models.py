"""The tables of the kernel: locks, and the keys of contexts."""

from datetime import datetime

from sqlalchemy import Column, DateTime, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel


class RoleLock(SQLModel, table=True):
    """A lock that transactions of the named database roles take by locking this row; `held` stays empty."""

    __tablename__ = "role_lock"

    name: str = Field(primary_key=True, sa_type=Text)
    roles: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    held: str | None = Field(default=None, sa_type=Text)


class ContextKey(SQLModel, table=True):
    """The key that signs a login role's contexts, as HMAC-SHA256 uses it: joined with its two pads.

    No login role may read it. One without pads stands for contexts without a signature, which an upgrade believes for
    an hour, because processes of the release before still run.
    """

    __tablename__ = "context_key"

    role: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(primary_key=True, sa_type=Text)
    inner_pad: bytes | None = Field(sa_type=LargeBinary)
    outer_pad: bytes | None = Field(sa_type=LargeBinary)
    valid_until: datetime | None = Field(sa_type=DateTime(timezone=True))
