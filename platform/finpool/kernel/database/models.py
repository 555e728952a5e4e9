"""The table of locks."""

from sqlalchemy import Column, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel


class RoleLock(SQLModel, table=True):
    """A lock that transactions of the named database roles take by locking this row; `held` stays empty."""

    __tablename__ = "role_lock"

    name: str = Field(primary_key=True, sa_type=Text)
    roles: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    held: str | None = Field(default=None, sa_type=Text)
