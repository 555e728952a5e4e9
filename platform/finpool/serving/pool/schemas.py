"""The state that the pool publishes."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolState:
    """The engines that are up, as paths by model.

    An engine that may sleep is also up without a replica; `sleepers` lists the paths of these.
    `background` says of each background model that does not serve yet how far it is.
    """

    engine_paths: dict[str, list[str]] = field(default_factory=dict)
    sleepers: list[str] = field(default_factory=list)
    background: dict[str, str] = field(default_factory=dict)
