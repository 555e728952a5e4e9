"""Body and answer of an operator's decision on the leases of a lost spool."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finpool.kernel.ids import SLUG_PATTERN
from finpool.metering.correction.schemas import Reason


class LostSpoolBody(BaseModel):
    """A lost spool, the decision on its leases, and the proof of the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replica_id: str = Field(pattern=SLUG_PATTERN)
    spool_id: str = Field(pattern=r"^spool_[0-9a-z]{24}$")
    decision: Literal["charged", "released"]
    reason: Reason


class ChargedTenant(BaseModel):
    """The charge of one tenant, rounded up; the exact amount is on its next invoice, marked as disputed."""

    tenant_id: str
    charged_micros: int


class LostSpoolView(BaseModel):
    """The result of a decision on a lost spool."""

    object: Literal["lost_spool"] = "lost_spool"
    leases_closed: int
    charged: list[ChargedTenant]
