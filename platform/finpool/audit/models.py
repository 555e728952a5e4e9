"""Tables of the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, FetchedValue, Identity, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

_DERIVED = FetchedValue()
"""The database alone writes such a column."""


class AuditOutbox(SQLModel, table=True):
    """An event, written in the transaction that caused it; the sequencer moves it into `audit_entry`.

    The database refuses what the log cannot take, and writes `written_at` itself.
    """

    __tablename__ = "audit_outbox"

    outbox_id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    tenant_id: str | None = Field(default=None, sa_type=Text)
    occurred_at: datetime = Field(sa_type=DateTime(timezone=True))
    kind: str = Field(sa_type=Text)
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    written_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), FetchedValue(), nullable=False)
    )


class AuditQuarantine(SQLModel, table=True):
    """An event that the log could not take; an entry of the log names `sha256`, the hash of its `content`."""

    __tablename__ = "audit_quarantine"

    outbox_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    tenant_id: str | None = Field(default=None, sa_type=Text)
    content: str = Field(sa_type=Text)
    sha256: bytes = Field(sa_type=LargeBinary)
    reason: str = Field(sa_type=Text)
    written_at: datetime = Field(sa_type=DateTime(timezone=True))
    set_aside_at: datetime = Field(sa_column=Column(DateTime(timezone=True), FetchedValue(), nullable=False))
    reviewed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    reviewed_by: str | None = Field(default=None, sa_type=Text)


class AuditEntry(SQLModel, table=True):
    """One entry of the append-only log: canonical JSON, and the SHA-256 hash that chains it to the previous entry.

    The database derives the last four columns from the entry, for the filters of the audit trail.
    """

    __tablename__ = "audit_entry"

    seq: int = Field(primary_key=True, sa_type=BigInteger)
    tenant_id: str | None = Field(default=None, sa_type=Text)
    entry: str = Field(sa_type=Text)
    previous: bytes = Field(sa_type=LargeBinary)
    hash: bytes = Field(sa_type=LargeBinary, unique=True)
    kind: str | None = Field(default=None, sa_column=Column(Text, _DERIVED))
    occurred_at: str | None = Field(default=None, sa_column=Column(Text, _DERIVED))
    actor_id: str | None = Field(default=None, sa_column=Column(Text, _DERIVED))
    project_id: str | None = Field(default=None, sa_column=Column(Text, _DERIVED))
