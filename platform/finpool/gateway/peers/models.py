"""Tables through which gateways that share an engine tell each other where they stand: rows that live for seconds."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel


class GatewaySlots(SQLModel, table=True):
    """The slots of an engine that one run of a replica's gateway may fill, and when the run was last heard of."""

    __tablename__ = "gateway_slots"

    run_id: str = Field(primary_key=True, sa_type=Text)
    engine: str = Field(primary_key=True, sa_type=Text)
    replica_id: str = Field(sa_type=Text)
    slots: int = Field(sa_type=Integer)
    seen_at: datetime = Field(sa_type=DateTime(timezone=True))


class GatewayStandingRow(SQLModel, table=True):
    """Where a tenant stands at one run of a gateway: what it was charged there in all, and its requests there now.

    `charged` is service over weight, in the scheduler's own units; it only means something beside other tenants'.
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
