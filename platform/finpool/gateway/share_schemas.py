"""What gateways tell each other of an engine that they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from finpool.kernel.ids import TenantId


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tenant stands at one gateway: all it was charged there, over its weight, and its requests there now."""

    charged: int = 0
    waiting: int = 0
    batch_waiting: int = 0
    in_flight: int = 0

    @property
    def waits(self) -> bool:
        """Tell whether it waits for anything."""
        return bool(self.waiting or self.batch_waiting)

    @property
    def idle(self) -> bool:
        """Tell whether it has no request there."""
        return not self.waits and not self.in_flight


@dataclass(frozen=True, slots=True)
class GatewayShare:
    """One run of a gateway at one engine: the slots that it may fill, and where its tenants stand."""

    slots: int
    tenants: Mapping[TenantId, Standing] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Slots that nobody else can have: those it may fill, and those that are still filled from before."""
        return max(self.slots, sum(each.in_flight for each in self.tenants.values()))
