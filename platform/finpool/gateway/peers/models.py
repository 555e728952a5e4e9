"""Tables of gateway standings at shared engines; their rows live for seconds."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel


class GatewaySlots(SQLModel, table=True):
    """The slots that one gateway run may fill at an engine, and the time of its last sync."""

    __tablename__ = "gateway_slots"

    run_id: str = Field(primary_key=True, sa_type=Text)
    engine: str = Field(primary_key=True, sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    slots: int = Field(sa_type=Integer)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))


class GatewayStandingRow(SQLModel, table=True):
    """A tenant's standing at one gateway run: its total charge and its present requests.

    `charged` is service over weight, in the scheduler's units; it is comparable only with other tenants' charges.
    """

    __tablename__ = "gateway_share"

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    run_id: str = Field(primary_key=True, sa_type=Text)
    engine: str = Field(primary_key=True, sa_type=Text)
    charged: int = Field(sa_type=BigInteger)
    waiting: int = Field(sa_type=Integer)
    batch_waiting: int = Field(sa_type=Integer)
    in_flight: int = Field(sa_type=Integer)
    changed_at: datetime = Field(sa_type=DateTime(timezone=True))
