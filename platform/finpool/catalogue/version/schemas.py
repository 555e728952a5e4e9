"""A model's versions: declaration, state, measurements and part of the requests."""

import hashlib
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from finpool.catalogue.model.schemas import VERSION_PATTERN, Model, Served
from finpool.catalogue.price.schemas import BASIS_POINTS

ADAPTERS_OWN_FIELDS = frozenset({"weights", "licence", "filing_number"})
"""The fields of a version's declaration that an adapter sets itself; the others come from its base."""

VersionName = Annotated[str, Field(pattern=VERSION_PATTERN)]


class VersionState(StrEnum):
    """The state of a version."""

    PROPOSED = "proposed"
    DOWNLOADING = "downloading"
    TESTING = "testing"
    SERVING = "serving"
    DRAINING = "draining"
    RETIRED = "retired"


ON_THE_POOL = frozenset({VersionState.TESTING, VersionState.SERVING, VersionState.DRAINING})
"""States in which the version's engine runs."""


class NewVersion(Served):
    """Body that proposes a version; every change of a declaration needs a new name."""

    version: VersionName


class Measurements(BaseModel):
    """Results of a version's test on the machine that serves it; whole numbers, with units in the names.

    `output_tokens_per_second` is the rate of one stream; `output_tokens_per_second_full` is the total of `streams`
    parallel streams. `memory_bytes` is the node memory of its process and child processes; accelerator memory is in the
    declaration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_ms: int
    first_token_ms: int
    input_tokens_per_second: int
    output_tokens_per_second: int
    output_tokens_per_second_full: int
    streams: int
    memory_bytes: int
    golden_prompts: int
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """A version with its declaration and its state."""

    model_id: str
    version: str
    declaration: Mapping[str, Any]
    weights_sha256: str
    licence: str
    state: VersionState
    licence_accepted_by: str | None
    licence_accepted_at: datetime | None
    progress: str | None
    fault: str | None
    measurements: Measurements | None
    proposed_by: str
    proposed_at: datetime
    changed_at: datetime

    def of(self, model: Model) -> Model:
        """Return `model` with this version's declaration; raise `ValueError` if it no longer fits the model."""
        return Model.model_validate(
            {**model.model_dump(mode="json"), **self.declaration, "version": self.version, "base": None}
        )

    def declares(self, served: Served, model: Model) -> bool:
        """Tell whether the declaration equals that of `served`; newer fields count with their defaults."""
        try:
            return declaration_of(self.of(model)) == declaration_of(served)
        except ValueError:
            return False


class NewRouting(BaseModel):
    """The versions' shares of the requests in basis points, 10,000 in total. A version with share 0 stays loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shares: dict[VersionName, Annotated[StrictInt, Field(ge=0, le=BASIS_POINTS)]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _are_everything(self) -> Self:
        if sum(self.shares.values()) != BASIS_POINTS:
            raise ValueError(f"shares must be {BASIS_POINTS} basis points together")
        return self


@dataclass(frozen=True, slots=True)
class Routing:
    """The split of a model's requests as an operator set it; the routing with the highest number is the target."""

    model_id: str
    number: int
    split: Mapping[str, int]
    created_by: str
    created_at: datetime

    @property
    def routed(self) -> frozenset[str]:
        """The versions that get requests."""
        return frozenset(version for version, basis_points in self.split.items() if basis_points)


@dataclass(frozen=True, slots=True)
class ModelLife:
    """A model's versions, the routing in force, and the latest one, which takes effect once its versions serve."""

    versions: Sequence[Version]
    in_force: Routing | None
    latest: Routing | None

    @classmethod
    def of(cls, versions: Sequence[Version], routings: Sequence[Routing]) -> Self:
        """Build the life of one model from its versions and routings."""
        serving = {each.version for each in versions if each.state is VersionState.SERVING}
        latest = max(routings, key=lambda routing: routing.number, default=None)
        return cls(versions, in_force(routings, serving), latest)


def in_force(routings: Iterable[Routing], serving: Collection[str]) -> Routing | None:
    """Return the latest routing whose versions all serve, or None; a newer one waits for its versions."""
    ready = [routing for routing in routings if routing.routed <= set(serving)]
    return max(ready, key=lambda routing: routing.number, default=None)


def chosen(split: Mapping[str, int], request_id: str) -> str:
    """Return the version for a request: CRC32 of its id modulo 10,000, placed into the cumulative basis points.

    Raises ValueError if the split is less than 10,000 basis points in total.
    """
    place = zlib.crc32(request_id.encode()) % BASIS_POINTS
    for version in sorted(split):
        place -= split[version]
        if place < 0:
            return version
    raise ValueError(f"the split is less than {BASIS_POINTS} basis points in total")


def on_version(adapter: Model, base: Model) -> Model:
    """Return an adapter on a version of its base."""
    inherited = set(Served.model_fields) - ADAPTERS_OWN_FIELDS
    return adapter.model_copy(update={name: getattr(base, name) for name in inherited})


def declaration_of(served: Served) -> dict[str, Any]:
    """Return a version's declaration without its name, as JSON with sorted capabilities."""
    part = served.model_dump(mode="json", include=set(Served.model_fields) - {"version"})
    return {**part, "capabilities": sorted(part["capabilities"])}


def declaration_sha256(declaration: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the canonical JSON of a declaration."""
    return hashlib.sha256(rfc8785.dumps(dict(declaration))).hexdigest()
