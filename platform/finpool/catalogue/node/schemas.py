"""What the pool's nodes have, what an engine takes of it, and how many engines fit where."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from finpool.catalogue.model.engine import OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pool. Accelerators are counted whole, what is free of them in percent of one."""

    node_id: str
    cpus: int
    cpus_free: int
    accelerator: str | None
    accelerators: int
    accelerators_free_percent: int
    memory_bytes: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class EngineNeeds:
    """What one replica of an engine takes. `accelerator` is the kind it was declared for, None for any."""

    cpus: int
    accelerator_percent: int
    accelerator: str | None

    @classmethod
    def of(cls, model: Model) -> Self:
        """Return what a replica of the engine of `model` takes of our pool."""
        engine = model.engine
        if isinstance(engine, OpenAiEngine):
            return cls(0, 0, None)
        if isinstance(engine, VllmEngine) and engine.device == "cuda":
            return cls(engine.threads, engine.accelerators * engine.accelerator_percent, engine.accelerator)
        return cls(engine.threads, 0, None)

    def fit_on(self, node: Node) -> int:
        """Return how many replicas fit into what is free on a node; all accelerators of one are on one node."""
        if self.accelerator is not None and node.accelerator != self.accelerator:
            return 0
        counts = [node.cpus_free // self.cpus] if self.cpus else []
        if self.accelerator_percent >= 100:
            counts.append(node.accelerators_free_percent // 100 // (self.accelerator_percent // 100))
        elif self.accelerator_percent:
            # Parts of different accelerators make no whole one, so what is free may be less than it seems.
            counts.append(node.accelerators_free_percent // self.accelerator_percent)
        return min(counts, default=0)

    def fit(self, nodes: Iterable[Node]) -> dict[str, int]:
        """Return how many replicas fit on each node that has room for one."""
        return {node.node_id: count for node in nodes if (count := self.fit_on(node))}
