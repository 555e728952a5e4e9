"""Tables of recorded usage."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Text
from sqlmodel import Field, SQLModel

from finpool.kernel.money import PicosColumn


class UsageRecord(SQLModel, table=True):
    """What one request used, as the engine reported it; recorded once and never changed."""

    __tablename__ = "usage_record"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "lease_id"], ["lease.tenant_id", "lease.lease_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    request_id: str = Field(primary_key=True, sa_type=Text)
    project_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    model_id: str = Field(sa_type=Text)
    weights_sha256: str = Field(sa_type=Text)
    price_version: str = Field(sa_type=Text)
    currency: str = Field(sa_type=Text)
    input_tokens: int = Field(sa_type=BigInteger)
    cached_input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    cost_picos: int = Field(sa_type=PicosColumn)
    outcome: str = Field(sa_type=Text)
    estimated: bool
    streamed: bool
    policy_version: int
    lease_id: str = Field(sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    spool_seq: int = Field(sa_type=BigInteger)
    started_at: datetime = Field(sa_type=DateTime(timezone=True))
    settled_at: datetime = Field(sa_type=DateTime(timezone=True))


class SpoolPosition(SQLModel, table=True):
    """How far one replica's spool is recorded; it moves in the same transaction as the records."""

    __tablename__ = "spool_position"

    replica_id: str = Field(primary_key=True, sa_type=Text)
    spool_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))
