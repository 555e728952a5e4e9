"""The report of one gateway to the others about a shared engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from finpool.gateway.queue.standing import Standing
from finpool.kernel.ids import TenantId


@dataclass(frozen=True, slots=True)
class GatewayStanding:
    """One gateway run at one engine: the slots that it may fill, and its tenants' standings."""

    slots: int
    tenants: Mapping[TenantId, Standing] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Slots that no other gateway can have: those it may fill, and those still filled from before."""
        return max(self.slots, sum(each.in_flight for each in self.tenants.values()))
