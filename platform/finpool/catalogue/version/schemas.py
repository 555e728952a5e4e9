"""A model's versions: what is declared of each, where each stands, and which of them requests go to."""

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
"""What an adapter declares itself of what a version declares; the rest is its base's."""

VersionName = Annotated[str, Field(pattern=VERSION_PATTERN)]


class VersionState(StrEnum):
    """Where a version stands in its life."""

    PROPOSED = "proposed"
    DOWNLOADING = "downloading"
    TESTING = "testing"
    SERVING = "serving"
    DRAINING = "draining"
    RETIRED = "retired"


ON_THE_POOL = frozenset({VersionState.TESTING, VersionState.SERVING, VersionState.DRAINING})
"""States in which a version has an engine that runs."""


class NewVersion(Served):
    """What an operator proposes: a version, by name. Whatever it is to be another version needs another name."""

    version: VersionName


class Measurements(BaseModel):
    """What a version's test measured on the machine that it serves on; whole numbers, units in the names.

    `output_tokens_per_second` is one stream's, `output_tokens_per_second_full` that of as many streams as the engine
    generates at once, together. `memory_bytes` is what its process and their children hold of the node's memory; an
    accelerator's is what its declaration gives it.
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
    """A version as it stands."""

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
        """Return `model` as this version declares it; raises `ValueError` if it does not fit the model any more."""
        return Model.model_validate(
            {**model.model_dump(mode="json"), **self.declaration, "version": self.version, "base": None}
        )

    def declares(self, served: Served, model: Model) -> bool:
        """Tell whether it is declared as `served` is; fields that came since it was written are at their defaults."""
        try:
            return declaration_of(self.of(model)) == declaration_of(served)
        except ValueError:
            return False


class NewRouting(BaseModel):
    """How requests are shared out: basis points by version, 10,000 together. A version with 0 is kept ready."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shares: dict[VersionName, Annotated[StrictInt, Field(ge=0, le=BASIS_POINTS)]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _are_everything(self) -> Self:
        if sum(self.shares.values()) != BASIS_POINTS:
            raise ValueError(f"shares must be {BASIS_POINTS} basis points together")
        return self


@dataclass(frozen=True, slots=True)
class Routing:
    """A model's shares as somebody set them; of several the highest number is what is wished for."""

    model_id: str
    number: int
    shares: Mapping[str, int]
    created_by: str
    created_at: datetime

    @property
    def asked(self) -> frozenset[str]:
        """The versions that requests go to."""
        return frozenset(version for version, share in self.shares.items() if share)


@dataclass(frozen=True, slots=True)
class ModelLife:
    """A model's versions, the routing that holds, and the latest one, which holds as soon as its versions serve."""

    versions: Sequence[Version]
    in_force: Routing | None
    latest: Routing | None

    @classmethod
    def of(cls, versions: Sequence[Version], routings: Sequence[Routing]) -> Self:
        """Put together what is known of one model."""
        serving = {each.version for each in versions if each.state is VersionState.SERVING}
        latest = max(routings, key=lambda routing: routing.number, default=None)
        return cls(versions, in_force(routings, serving), latest)


def in_force(routings: Iterable[Routing], serving: Collection[str]) -> Routing | None:
    """Return the latest routing of a model whose versions all serve: the wish waits until it can be kept."""
    ready = [routing for routing in routings if routing.asked <= set(serving)]
    return max(ready, key=lambda routing: routing.number, default=None)


def chosen(shares: Mapping[str, int], request_id: str) -> str:
    """Return the version that a request goes to; one request always the same, all of them by the shares."""
    place = zlib.crc32(request_id.encode()) % BASIS_POINTS
    for version in sorted(shares):
        place -= shares[version]
        if place < 0:
            return version
    raise ValueError(f"the shares are less than {BASIS_POINTS} basis points together")


def on_version(adapter: Model, base: Model) -> Model:
    """Return an adapter as a version of its base serves it."""
    inherited = set(Served.model_fields) - ADAPTERS_OWN_FIELDS
    return adapter.model_copy(update={name: getattr(base, name) for name in inherited})


def declaration_of(served: Served) -> dict[str, Any]:
    """Return what a version declares, without its name, as JSON in one order."""
    part = served.model_dump(mode="json", include=set(Served.model_fields) - {"version"})
    return {**part, "capabilities": sorted(part["capabilities"])}


def declaration_sha256(declaration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what `declaration_of` returned: under one name it never changes."""
    return hashlib.sha256(rfc8785.dumps(dict(declaration))).hexdigest()
