"""Tables of limits, accounts, budgets, leases, rate shares and transfers."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKeyConstraint, Numeric, SmallInteger, Text
from sqlmodel import Field, SQLModel

from finpool.kernel.database.columns import PicosColumn


class QuotaLimit(SQLModel, table=True):
    """The limits of an operator or a tenant's owner on one scope; None is unlimited."""

    __tablename__ = "quota_limit"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    set_by: str = Field(primary_key=True, sa_type=Text)
    scope: str = Field(primary_key=True, sa_type=Text)
    scope_id: str = Field(primary_key=True, sa_type=Text)
    budget_day_micros: int | None = Field(default=None, sa_type=BigInteger)
    budget_month_micros: int | None = Field(default=None, sa_type=BigInteger)
    budget_total_micros: int | None = Field(default=None, sa_type=BigInteger)
    soft_thresholds_percent: list[int] = Field(sa_type=ARRAY(SmallInteger))
    requests_per_minute: int | None = Field(default=None, sa_type=BigInteger)
    tokens_per_minute: int | None = Field(default=None, sa_type=BigInteger)
    concurrency: int | None = Field(default=None, sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))


class Account(SQLModel, table=True):
    """A tenant's account: its total spending and, if prepaid, its paid-in amount.

    Its row is the tenant's lock: every change of the tenant's budgets, leases or shares holds it. `usage_seq` is the
    number of the tenant's last usage record; records are numbered under the lock, so numbers commit in order.
    """

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    payment: str = Field(default="postpaid", sa_type=Text)
    funded_picos: int = Field(default=0, sa_type=PicosColumn)
    posted_picos: int = Field(default=0, sa_type=PicosColumn)
    usage_seq: int = Field(default=0, sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))


class Budget(SQLModel, table=True):
    """The spent (posted) and leased (pending) amounts of a budget in one period; grants keep their sum within it."""

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.tenant_id")
    budget_id: str = Field(primary_key=True, sa_type=Text)
    set_by: str = Field(sa_type=Text)
    scope: str = Field(sa_type=Text)
    scope_id: str = Field(sa_type=Text)
    period: str = Field(sa_type=Text)
    period_start: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    posted_picos: int = Field(default=0, sa_type=PicosColumn)
    pending_picos: int = Field(default=0, sa_type=PicosColumn)
    threshold_percent: int = Field(default=0, sa_type=SmallInteger)


class Lease(SQLModel, table=True):
    """A part of a budget that one inference replica spends without a further request to the account.

    `spool_id` names the spool that records its spending; the lease may close only after that spool is recorded.
    """

    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["account.tenant_id"]),
        ForeignKeyConstraint(["tenant_id", "budget_id"], ["budget.tenant_id", "budget.budget_id"]),
    )

    tenant_id: str = Field(primary_key=True, sa_type=Text)
    lease_id: str = Field(primary_key=True, sa_type=Text)
    budget_id: str = Field(sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    spool_id: str = Field(sa_type=Text)
    granted_picos: int = Field(sa_type=PicosColumn)
    spent_picos: int = Field(default=0, sa_type=PicosColumn)
    opened_at: datetime = Field(sa_type=DateTime(timezone=True))
    closed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    outcome: str | None = Field(default=None, sa_type=Text)


class RateShare(SQLModel, table=True):
    """The part of one rate that one run of a replica may use; the parts together never pass the limit."""

    __tablename__ = "rate_share"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.tenant_id")
    limit_id: str = Field(primary_key=True, sa_type=Text)
    rate: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(primary_key=True, sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))


class ReplicaRun(SQLModel, table=True):
    """One run of an inference replica and its last heartbeat; a spool of a living run is not lost."""

    __tablename__ = "replica_run"

    run_id: str = Field(primary_key=True, sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    spool_id: str = Field(sa_type=Text)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))


class Transfer(SQLModel, table=True):
    """A double entry: amounts by account, which sum to zero. Written once and never changed."""

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    transfer_id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    accounts: list[str] = Field(sa_type=ARRAY(Text))
    amounts_picos: list[int] = Field(sa_type=ARRAY(Numeric))
    occurred_at: datetime = Field(sa_type=DateTime(timezone=True))
