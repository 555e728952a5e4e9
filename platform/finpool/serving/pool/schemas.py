"""The state that the pool publishes."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolState:
    """The engines that are up, as paths by model.

    An engine that may sleep is also up without a replica; `sleepers` lists the paths of these.
    """

    engine_paths: dict[str, list[str]] = field(default_factory=dict)
    sleepers: list[str] = field(default_factory=list)
