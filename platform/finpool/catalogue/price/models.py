"""Tables of prices: the amounts of each price version, and the times at which versions take effect."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Identity, SmallInteger, Text
from sqlmodel import Field, SQLModel


class PriceVersion(SQLModel, table=True):
    """The amounts of one price version in picos per token; they never change. Its name is derived from them."""

    __tablename__ = "price_version"

    price_version: str = Field(primary_key=True, sa_type=Text)
    model_id: str = Field(sa_type=Text)
    currency: str = Field(sa_type=Text)
    input_picos: int = Field(sa_type=BigInteger)
    cached_input_picos: int = Field(sa_type=BigInteger)
    output_picos: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


class TenantPrice(SQLModel, table=True):
    """A price version that usage of the tenant names; a bank sees no other's discount."""

    __tablename__ = "tenant_price"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    price_version: str = Field(primary_key=True, sa_type=Text)


class PriceSchedule(SQLModel, table=True):
    """The time from which a version is a model's price in one tier; a version of None ends the tier.

    Of all rows that have begun, the one with the latest `valid_from` holds; among equal ones, the row written last.
    Off-peak prices hold between two minutes of the day (UTC); from 1320 until 360 is from 22:00 to 06:00.
    """

    __tablename__ = "price_schedule"

    schedule_id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    model_id: str = Field(sa_type=Text)
    tier: str = Field(sa_type=Text)
    price_version: str | None = Field(default=None, sa_type=Text, foreign_key="price_version.price_version")
    off_peak_from_minute: int | None = Field(default=None, sa_type=SmallInteger)
    off_peak_until_minute: int | None = Field(default=None, sa_type=SmallInteger)
    valid_from: datetime = Field(sa_type=DateTime(timezone=True))
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    created_by: str = Field(sa_type=Text)
