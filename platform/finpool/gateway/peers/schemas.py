"""What each gateway tells the others about an engine that they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from finpool.gateway.queue.standing import Standing
from finpool.kernel.ids import TenantId


@dataclass(frozen=True, slots=True)
class GatewayStanding:
    """One run of a gateway at one engine: the slots that it may fill, and where its tenants stand."""

    slots: int
    tenants: Mapping[TenantId, Standing] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Slots that nobody else can have: those it may fill, and those that are still filled from before."""
        return max(self.slots, sum(each.in_flight for each in self.tenants.values()))
