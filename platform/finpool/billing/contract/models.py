"""Tables of tenants' contracts and of the pool's cost per month."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, DateTime, Text
from sqlmodel import Field, SQLModel


class Contract(SQLModel, table=True):
    """The terms of a tenant from `valid_from` on.

    Of all rows that have begun, the one with the latest `valid_from` holds; among equal ones, the highest version.
    `payment` is the change of payment terms, None without one; the current terms are in the account. A `pool_weight`
    above 0 makes the tenant a member of the pool. While an engine is busy the tenant is served by its `service_weight`,
    and gets at least its guaranteed share.
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
    """The pool's cost in one month, paid by its members; the highest version holds."""

    __tablename__ = "pool_cost"

    month: date = Field(primary_key=True, sa_type=Date)
    version: int = Field(primary_key=True)
    currency: str = Field(sa_type=Text)
    amount_micros: int = Field(sa_type=BigInteger)
    equal_share_basis_points: int
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    created_by: str = Field(sa_type=Text)
