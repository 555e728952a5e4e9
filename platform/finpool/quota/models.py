"""Tables of accounts and leases."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Text
from sqlmodel import Field, SQLModel

from finpool.kernel.money import PicosColumn


class Account(SQLModel, table=True):
    """A tenant's budget and rates, and what is posted (spent) and pending (leased to replicas and not yet spent).

    posted + pending never passes the budget. A rate of None is not limited.
    """

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    budget_micros: int = Field(sa_type=BigInteger)
    requests_per_minute: int | None = Field(default=None, sa_type=BigInteger)
    tokens_per_minute: int | None = Field(default=None, sa_type=BigInteger)
    concurrency: int | None = Field(default=None, sa_type=BigInteger)
    posted_picos: int = Field(default=0, sa_type=PicosColumn)
    pending_picos: int = Field(default=0, sa_type=PicosColumn)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))


class Lease(SQLModel, table=True):
    """A part of a tenant's budget handed to one inference replica, which spends it without asking again.

    `spool_id` names the spool that records what is spent of it: the lease may only close once that spool is recorded.
    """

    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["account.tenant_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text)
    lease_id: str = Field(primary_key=True, sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    spool_id: str = Field(sa_type=Text)
    granted_picos: int = Field(sa_type=PicosColumn)
    spent_picos: int = Field(default=0, sa_type=PicosColumn)
    opened_at: datetime = Field(sa_type=DateTime(timezone=True))
    closed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
