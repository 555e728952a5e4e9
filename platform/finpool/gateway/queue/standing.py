"""Where one tenant stands at one gateway."""

from dataclasses import dataclass


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
