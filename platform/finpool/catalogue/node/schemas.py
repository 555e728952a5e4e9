"""The pool's nodes, the needs of an engine replica, and the number of replicas that fit."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from finpool.catalogue.model.engine import OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the pool. Accelerators are counted whole; free accelerators are in percent of one."""

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
    """The resources of one engine replica. `accelerator` is the declared kind, None for any."""

    cpus: int
    accelerator_percent: int
    accelerator: str | None

    @classmethod
    def of(cls, model: Model) -> Self:
        """Return the pool resources of one engine replica of the model's engine."""
        engine = model.engine
        if isinstance(engine, OpenAiEngine):
            return cls(0, 0, None)
        if isinstance(engine, VllmEngine) and engine.device == "cuda":
            return cls(engine.threads, engine.accelerators * engine.accelerator_percent, engine.accelerator)
        return cls(engine.threads, 0, None)

    def fit_on(self, node: Node) -> int:
        """Return the number of engine replicas that fit into a node's free resources; none spans two nodes."""
        if self.accelerator is not None and node.accelerator != self.accelerator:
            return 0
        counts = [node.cpus_free // self.cpus] if self.cpus else []
        if self.accelerator_percent >= 100:
            counts.append(node.accelerators_free_percent // 100 // (self.accelerator_percent // 100))
        elif self.accelerator_percent:
            # Free parts of two accelerators do not make one whole part, so this is an upper bound.
            counts.append(node.accelerators_free_percent // self.accelerator_percent)
        return min(counts, default=0)

    def fit(self, nodes: Iterable[Node]) -> dict[str, int]:
        """Return the number of engine replicas that fit on each node, without the nodes where none fits."""
        return {node.node_id: count for node in nodes if (count := self.fit_on(node))}
