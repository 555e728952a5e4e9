"""The detector of stalls: pauses of the loop, connections held without a statement, and reference cycles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from held_connections import Hold, held_connections
from loop_pauses import Pause, loop_pauses
from reference_cycles import CyclicObjects, reference_cycles

PAUSE_MS_MAX = 10.0
"""The longest pause of a door's loop, for any request of a client."""

HOLD_MS_MAX = 100.0


@dataclass
class Stalls:
    """The stalls of a block. Cycles are complete once it has ended."""

    pauses: list[Pause] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    cycles: CyclicObjects = field(default_factory=CyclicObjects)

    def found(self, *, cyclic_objects_max: int) -> list[str]:
        """Return a sentence for each stall."""
        found: list[object] = [*self.pauses, *self.holds]
        if self.cycles.count > cyclic_objects_max:
            found.append(self.cycles)
        return [str(each) for each in found]


@contextmanager
def stalls(pause_ms_max: float = PAUSE_MS_MAX, hold_ms_max: float = HOLD_MS_MAX) -> Iterator[Stalls]:
    """Detect every stall of the doors on the running loop until the block ends."""
    with (
        reference_cycles() as cycles,
        held_connections(hold_ms_max) as holds,
        loop_pauses(pause_ms_max) as pauses,
    ):
        yield Stalls(pauses, holds, cycles)
