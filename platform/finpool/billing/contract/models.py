"""Tables of tenants' contracts and of what the pool costs a month."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, DateTime, Text
from sqlmodel import Field, SQLModel


class Contract(SQLModel, table=True):
    """What was agreed with a tenant from a moment on.

    Of several rows that have begun the one with the latest `valid_from` holds, and of those the one with the highest
    version. `payment` is the change that the contract brought, None if it left the tenant's payment as it was: how a
    tenant pays now is in its account. `pool_weight` above 0 makes the tenant a member that shares the pool's cost.
    While an engine is busy the tenant is served by its `service_weight`, and never less than its guaranteed share.
    """

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    version: int = Field(primary_key=True)
    valid_from: datetime = Field(sa_type=DateTime(timezone=True))
    payment: str | None = Field(default=None, sa_type=Text)
    discount_basis_points: int
    commitment_micros: int = Field(sa_type=BigInteger)
    pool_weight: int = Field(sa_type=BigInteger)
    service_weight: int = 1
    service_share_min_basis_points: int = 0
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    created_by: str = Field(sa_type=Text)


class PoolCost(SQLModel, table=True):
    """What the pool costs its members in one month; of several versions the highest holds."""

    __tablename__ = "pool_cost"

    month: date = Field(primary_key=True, sa_type=Date)
    version: int = Field(primary_key=True)
    currency: str = Field(sa_type=Text)
    amount_micros: int = Field(sa_type=BigInteger)
    equal_share_basis_points: int
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    created_by: str = Field(sa_type=Text)
