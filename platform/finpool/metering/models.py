"""Tables of recorded usage."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, DateTime, Text
from sqlmodel import Field, SQLModel

from finpool.kernel.database.columns import PicosColumn


class UsageRecord(SQLModel, table=True):
    """The usage of one request, as the engine reported it; written once and never changed.

    `usage_seq` numbers a tenant's records in the order of their commits. A record counts at `counted_at`, when its
    request was admitted, or at `settled_at` if it is older than this rule (`COUNTED_AT`). `operation` is the billed
    operation, such as `chat` or `embeddings`; older records do not say theirs.
    """

    __tablename__ = "usage_record"

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
    lease_ids: list[str] = Field(sa_type=ARRAY(Text))
    replica_id: str = Field(sa_type=Text)
    spool_seq: int = Field(sa_type=BigInteger)
    started_at: datetime = Field(sa_type=DateTime(timezone=True))
    settled_at: datetime = Field(sa_type=DateTime(timezone=True))
    tier: str = Field(default="standard", sa_type=Text)
    queue_ms: int | None = Field(default=None, sa_type=BigInteger)
    counted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    operation: str | None = Field(default=None, sa_type=Text)
    usage_seq: int = Field(sa_type=BigInteger)
    recorded_at: datetime = Field(sa_type=DateTime(timezone=True))


class UsageAdjustment(SQLModel, table=True):
    """A signed change of recorded usage: a correction, the charge of a lost spool's leases, or an accepted dispute."""

    __tablename__ = "usage_adjustment"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    adjustment_id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    request_id: str | None = Field(default=None, sa_type=Text)
    project_id: str | None = Field(default=None, sa_type=Text)
    model_id: str | None = Field(default=None, sa_type=Text)
    price_version: str | None = Field(default=None, sa_type=Text)
    currency: str = Field(sa_type=Text)
    input_tokens: int = Field(sa_type=BigInteger)
    cached_input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    cost_picos: int = Field(sa_type=PicosColumn)
    reason: str = Field(sa_type=Text)
    made_by: str = Field(sa_type=Text)
    usage_seq: int = Field(sa_type=BigInteger)
    recorded_at: datetime = Field(sa_type=DateTime(timezone=True))


class SpoolPosition(SQLModel, table=True):
    """The last recorded number of a replica's spool; it moves in the same transaction as the records."""

    __tablename__ = "spool_position"

    replica_id: str = Field(primary_key=True, sa_type=Text)
    spool_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))
