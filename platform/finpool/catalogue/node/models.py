"""The table of the pool's nodes."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel


class PoolNode(SQLModel, table=True):
    """A node of the pool with its total and free resources; the pool rewrites the row every few seconds."""

    __tablename__ = "pool_node"

    node_id: str = Field(primary_key=True, sa_type=Text)
    cpus: int = Field(sa_type=Integer)
    cpus_free: int = Field(sa_type=Integer)
    accelerator: str | None = Field(default=None, sa_type=Text)
    accelerators: int = Field(sa_type=Integer)
    accelerators_free_percent: int = Field(sa_type=Integer)
    memory_bytes: int = Field(sa_type=BigInteger)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))
