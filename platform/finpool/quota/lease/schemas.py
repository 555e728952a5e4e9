"""Leases as operators see them, and the result of closing a lost spool's leases."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from finpool.kernel.ids import LeaseId, TenantId


class LeaseView(BaseModel):
    """An open lease. `held_micros` is the rest that its replica may spend, rounded up."""

    tenant_id: TenantId
    lease_id: LeaseId
    budget_id: str
    replica_id: str
    spool_id: str
    granted_micros: int
    held_micros: int
    opened_at: datetime


class LeaseList(BaseModel):
    """All open leases."""

    object: Literal["list"] = "list"
    data: list[LeaseView]


@dataclass(frozen=True, slots=True)
class ClosedSpool:
    """The closed leases of a spool: their number, and each tenant's charge in picos."""

    leases: int
    charged_picos: Mapping[TenantId, int]
