"""Leases as operators see them, and what they decide about those of a lost spool."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from finpool.kernel.ids import LeaseId, TenantId


class LeaseView(BaseModel):
    """A lease that is open. `held_micros` is what its replica may still spend, rounded up."""

    tenant_id: TenantId
    lease_id: LeaseId
    budget_id: str
    replica_id: str
    spool_id: str
    granted_micros: int
    held_micros: int
    opened_at: datetime


class LeaseList(BaseModel):
    """Every lease that is open."""

    object: Literal["list"] = "list"
    data: list[LeaseView]


@dataclass(frozen=True, slots=True)
class ClosedSpool:
    """What was closed of a spool: how many leases, and what was charged for them to each tenant, in picos."""

    leases: int
    charged_picos: Mapping[TenantId, int]
