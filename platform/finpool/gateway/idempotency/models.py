"""The table of requests with an `Idempotency-Key`."""

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, Text
from sqlmodel import Field, SQLModel


class IdempotentRequest(SQLModel, table=True):
    """A request with an `Idempotency-Key`: the run that answers it, and then its sealed answer.

    `key_digest` and `fingerprint` are HMACs, so the row tells neither the client's key nor its request. A row without
    an answer is a claim, which ends at `held_until` unless its run renews it.
    """

    __tablename__ = "idempotent_request"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    key_digest: bytes = Field(primary_key=True, sa_type=LargeBinary)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    request_id: str = Field(sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    run_id: str = Field(sa_type=Text)
    claimed_at: datetime = Field(sa_type=DateTime(timezone=True))
    held_until: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)
