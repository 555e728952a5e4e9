"""The pool's capacity for operators: nodes, versions with measured rates, and the estimate for a new bank."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from finpool.catalogue.node.schemas import Node
from finpool.catalogue.version.schemas import Measurements

PERCENT = 100


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second: prompt tokens (`input`) and generated tokens (`output`)."""

    input_tokens: float
    output_tokens: float

    def engines(self, measured: Measurements) -> float:
        """Return the number of engines with these measurements that the rates keep busy.

        An engine generates nothing while it computes a prompt, so both parts add up.
        """
        return self.input_tokens / max(1, measured.input_tokens_per_second) + self.output_tokens / max(
            1, measured.output_tokens_per_second_full
        )


class NodeCapacity(BaseModel):
    """A node of the pool. `accelerators_free_percent` is in percent of one accelerator."""

    object: Literal["capacity.node"] = "capacity.node"
    id: str
    cpus: int
    cpus_free: int
    accelerator: str | None
    accelerators: int
    accelerators_free_percent: int
    memory_bytes: int
    seen_at: datetime

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return the response for a node."""
        return cls(
            id=node.node_id,
            cpus=node.cpus,
            cpus_free=node.cpus_free,
            accelerator=node.accelerator,
            accelerators=node.accelerators,
            accelerators_free_percent=node.accelerators_free_percent,
            memory_bytes=node.memory_bytes,
            seen_at=node.seen_at,
        )


class VersionCapacity(BaseModel):
    """A version of a model: an engine replica's needs, the measured rates, the use, the rest, and how many more
    replicas fit.

    `used_percent` is the part of the version's replicas that the model's recent usage keeps busy; the version's share
    of the requests weights it. Measured figures are null before the acceptance test.
    """

    object: Literal["capacity.version"] = "capacity.version"
    model: str
    version: str
    state: str
    replicas_min: int
    replicas_max: int
    cpus: int
    accelerator: str | None
    accelerator_percent: int
    output_tokens_per_second: int | None
    input_tokens_per_second: int | None
    memory_bytes: int | None
    used_percent: int | None
    output_tokens_per_second_left: int | None
    replicas_that_fit: dict[str, int]


class CapacityView(BaseModel):
    """The pool: its nodes, and every version that is not retired. Usage is that of the last `window_seconds`."""

    object: Literal["capacity"] = "capacity"
    window_seconds: int
    nodes: list[NodeCapacity]
    versions: list[VersionCapacity]


class CapacityQuery(BaseModel):
    """The window of past usage, in seconds."""

    model_config = ConfigDict(extra="forbid")

    window_seconds: int = Field(900, ge=60, le=2_678_400)


class EstimateQuery(CapacityQuery):
    """A new bank: its peak tokens per second, and the percentage of each engine to keep free."""

    model: str
    output_tokens_per_second: int = Field(ge=0, le=10**9)
    input_tokens_per_second: int = Field(0, ge=0, le=10**9)
    headroom_percent: int = Field(20, ge=0, le=90)


class EstimateView(BaseModel):
    """The needs of a new bank. `replicas_wanted` more engine replicas make room for it; `fits` tells whether the nodes
    hold them.

    `replicas_taken_hundredths` are the replicas that the bank keeps busy; `replicas_left_hundredths` are the free ones.
    """

    object: Literal["capacity.estimate"] = "capacity.estimate"
    model: str
    version: str
    measured_at: datetime
    replicas_taken_hundredths: int
    replicas_left_hundredths: int
    replicas_wanted: int
    replicas_that_fit: dict[str, int]
    fits: bool


def replicas_wanted(taken: float, left: float) -> int:
    """Return the number of further engine replicas for `taken` busy ones when `left` of the existing ones are free."""
    return max(0, math.ceil(taken - left - 1e-9))
