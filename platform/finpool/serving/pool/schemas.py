"""What the pool tells of itself."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolState:
    """The engines that are up, as paths by model.

    An engine that may sleep is up without a replica too: `sleepers` are their paths.
    """

    engine_paths: dict[str, list[str]] = field(default_factory=dict)
    sleepers: list[str] = field(default_factory=list)
