"""A tenant's standing at one gateway."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's standing at one gateway: its total charge over its weight, and its present requests."""

    charged: int = 0
    waiting: int = 0
    batch_waiting: int = 0
    in_flight: int = 0

    @property
    def waits(self) -> bool:
        """Whether any of its requests waits."""
        return bool(self.waiting or self.batch_waiting)

    @property
    def idle(self) -> bool:
        """Whether it has no request there."""
        return not self.waits and not self.in_flight
