"""What the pool tells of itself."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolState:
    """The engines that are up, as paths by model, and what those that were ended had counted, tokens by model.

    An engine that may sleep is up without a replica too: `sleepers` are their paths. `uncounted` are the models whose
    engines cannot say what they counted, because some of their replicas were not asked or have gone.
    """

    engine_paths: dict[str, list[str]] = field(default_factory=dict)
    ended: dict[str, dict[str, int]] = field(default_factory=dict)
    sleepers: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
