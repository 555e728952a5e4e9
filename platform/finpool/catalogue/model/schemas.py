"""A model of the catalogue: engine, weights, limits, licence and price."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import Field, StrictBool, StrictInt, model_validator

from finpool.catalogue.model.engine import Declaration, Engine, LlamaCppEngine, OpenAiEngine, VllmEngine
from finpool.catalogue.model.weights import Name, RemoteWeights, Weights, WeightsSnapshot
from finpool.kernel.ids import SLUG_PATTERN, ModelId, TenantId

MODEL_ID_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
"""Model ids stand in URLs, file names and Ray Serve application names, so their characters need no escaping."""

VERSION_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?$"
"""Versions stand in the same places, after the model's id and an underscore; neither contains an underscore."""

GOLDEN_PROMPTS_MAX = 64
SPDX_PATTERN = r"^[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*$"
PRICE_VERSION_HEX_DIGITS = 12
TOKENS_MAX = 10**12
"""An upper bound of one request's tokens; a larger count comes from a broken engine and overflows the tables."""
JSON_INTEGER_MAX = 2**53 - 1
"""The largest integer of canonical JSON (RFC 8785), which the name of a price version hashes."""

Tokens = Annotated[StrictInt, Field(ge=1)]
OutputTokens = Annotated[StrictInt, Field(ge=0)]
MicrosPerMillionTokens = Annotated[StrictInt, Field(ge=0, le=JSON_INTEGER_MAX)]
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""

Tenants = Annotated[frozenset[Annotated[TenantId, Field(pattern=SLUG_PATTERN)]], Field(min_length=1, max_length=256)]


INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2
"""An output token costs an engine about twice as much as a prompt token, because prompt tokens run in large batches."""


def service_of(input_tokens: int, output_tokens: int) -> int:
    """Return the service of these tokens, the unit of a tenant's share of an engine: input + 2 x output."""
    return INPUT_WEIGHT * input_tokens + OUTPUT_WEIGHT * output_tokens


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request. `cached_input_tokens` is the part of `input_tokens` that a prefix cache served."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        in_order = 0 <= self.cached_input_tokens <= self.input_tokens <= TOKENS_MAX
        if not in_order or not 0 <= self.output_tokens <= TOKENS_MAX:
            raise ValueError(f"impossible token usage: {self}")


_CHAT_CAPABILITIES = frozenset({"tools", "json_schema", "logprobs"})
_CAPABILITIES: Mapping[str, frozenset[str]] = {"embedding": frozenset({"dimensions"}), "rerank": frozenset()}


class Price(Declaration):
    """Prices in micros of `currency` (ISO 4217) per million tokens, which equal picos per token."""

    currency: CurrencyCode
    input_micros_per_million_tokens: MicrosPerMillionTokens
    cached_input_micros_per_million_tokens: MicrosPerMillionTokens
    output_micros_per_million_tokens: MicrosPerMillionTokens

    @model_validator(mode="after")
    def _cached_input_is_not_dearer(self) -> Self:
        if self.cached_input_micros_per_million_tokens > self.input_micros_per_million_tokens:
            raise ValueError("cached_input_micros_per_million_tokens is above input_micros_per_million_tokens")
        return self


class GoldenPrompt(Declaration):
    """A prompt that a version must answer before it serves: its greedy answer holds one of these texts."""

    prompt: str = Field(min_length=1, max_length=4096)
    answer_has_one_of: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        min_length=1, max_length=16
    )
    output_tokens_max: Annotated[StrictInt, Field(ge=1, le=1024)] = 64


class Served(Declaration):
    """The declaration of one version of a model. Each request may use all of `context_tokens`, at any load.

    Embedding and rerank models generate no tokens, so they omit `output_tokens_*`; `context_tokens` limits each input.
    """

    version: str = Field("1", pattern=VERSION_PATTERN)
    engine: Engine
    weights: Weights
    context_tokens: Tokens
    output_tokens_default: OutputTokens = 0
    output_tokens_max: OutputTokens = 0
    licence: str = Field(pattern=SPDX_PATTERN)
    filing_number: Name | None = None
    capabilities: frozenset[Literal["tools", "json_schema", "logprobs", "dimensions"]] = frozenset()
    golden_prompts: tuple[GoldenPrompt, ...] = Field((), max_length=GOLDEN_PROMPTS_MAX)

    @model_validator(mode="after")
    def _engine_reads_the_weights(self) -> Self:
        if isinstance(self.engine, OpenAiEngine) != isinstance(self.weights, RemoteWeights):
            raise ValueError("weights of source remote go with engine openai, and only with it")
        if isinstance(self.engine, VllmEngine) != isinstance(self.weights, WeightsSnapshot):
            raise ValueError("vllm takes weights from a directory or repository of safetensors, llamacpp one file")
        return self


class Model(Served):
    """A model that tenants may call, in the version that this process loaded."""

    id: ModelId = Field(pattern=MODEL_ID_PATTERN)
    title: Name
    kind: Literal["general", "financial", "embedding", "rerank"]
    price: Price
    tenants: Tenants | None = Field(
        None, description="Tenants that may call it. None: every tenant whose contract allows it."
    )
    base: ModelId | None = Field(None, description="Whose engine serves it, for an adapter.")
    background: StrictBool = Field(
        False, description="Its weights are fetched, and its engine starts, after all other models serve."
    )

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if not self.chats:
            if self.output_tokens_default or self.output_tokens_max:
                raise ValueError(
                    f"leave output_tokens_default and output_tokens_max out: kind {self.kind} has no output"
                )
        elif not 1 <= self.output_tokens_default <= self.output_tokens_max <= self.context_tokens:
            raise ValueError("1 <= output_tokens_default <= output_tokens_max <= context_tokens does not hold")
        return self

    @model_validator(mode="after")
    def _can_what_its_kind_can(self) -> Self:
        if self.golden_prompts and not self.chats:
            raise ValueError(f"golden_prompts are for models that chat, and kind {self.kind} does not")
        possible = _CAPABILITIES.get(self.kind, _CHAT_CAPABILITIES)
        if not self.capabilities <= possible:
            raise ValueError(f"capabilities of kind {self.kind} are {', '.join(sorted(possible)) or 'none'}")
        if "dimensions" in self.capabilities and isinstance(self.engine, LlamaCppEngine):
            raise ValueError("llamacpp gives vectors of one length only, so leave the capability dimensions out")
        return self

    @model_validator(mode="after")
    def _pools_as_its_kind_does(self) -> Self:
        if isinstance(self.engine, OpenAiEngine):
            return self
        pooling, cosine = self.engine.pooling, self.engine.scoring == "cosine"
        if pooling is not None and self.chats:
            raise ValueError("engine.pooling is for models of kind embedding or rerank")
        if cosine and self.kind != "rerank":
            raise ValueError("engine.scoring is for models of kind rerank")
        if pooling is not None and (pooling == "rank") != (self.kind == "rerank" and not cosine):
            raise ValueError("engine.pooling is rank for a cross encoder of kind rerank, and for that only")
        if self.engine.query_prefix and not (cosine or self.kind == "embedding"):
            raise ValueError("engine.query_prefix is for models of kind embedding and for scoring by cosine")
        if self.engine.document_prefix and not cosine:
            raise ValueError("engine.document_prefix is for scoring by cosine")
        return self

    @property
    def prefixes(self) -> tuple[str, str]:
        """The texts before a query or an input to embed, and before a document; a remote engine adds its own."""
        if isinstance(self.engine, OpenAiEngine):
            return "", ""
        return self.engine.query_prefix, self.engine.document_prefix

    @property
    def ranks_by_cosine(self) -> bool:
        """Whether a rerank model compares the vectors of an embedding model."""
        return not isinstance(self.engine, OpenAiEngine) and self.engine.scoring == "cosine"

    @property
    def chats(self) -> bool:
        """Whether the model completes chats."""
        return self.kind in ("general", "financial")

    @property
    def completes_texts(self) -> bool:
        """Whether the model completes raw texts: every chat model of the pool, and a remote one that declares it."""
        return self.chats and (not isinstance(self.engine, OpenAiEngine) or self.engine.text_completions)

    @property
    def engine_id(self) -> ModelId:
        """The id of the model whose engine serves it; for an adapter that of its base."""
        return self.base or self.id

    @property
    def engine_key(self) -> str:
        """The name of the engine that serves this version; adapters share their base's engine."""
        return f"{self.engine_id}_{self.version}"

    @property
    def engine_path(self) -> str:
        """The path of that engine in Ray Serve."""
        return f"/engines/{self.engine_id}/{self.version}"

    def open_to(self, tenant_id: TenantId) -> bool:
        """Tell whether the tenant may call the model: it is shared, or the tenant is among its `tenants`."""
        return self.tenants is None or tenant_id in self.tenants

    @cached_property
    def price_version(self) -> str:
        """The name of the declared price."""
        return price_version_name(self.id, self.price)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights as 64 lower-case hexadecimal digits: of the file, or of the list of files.

        For a remote engine it covers the declaration instead: address, model name and version.
        """
        if isinstance(self.weights, RemoteWeights):
            assert isinstance(self.engine, OpenAiEngine)  # noqa: S101 - the declaration was validated.
            declared = {**self.weights.model_dump(), "base_url": self.engine.base_url, "model": self.engine.model}
            return hashlib.sha256(rfc8785.dumps(declared)).hexdigest()
        return self.weights.sha256

    @property
    def weights_verified(self) -> bool:
        """Whether the hash covers the weights themselves and is checked before they serve."""
        return not isinstance(self.weights, RemoteWeights)

    @property
    def serving_domain(self) -> Literal["pool", "external"]:
        """Where prompts go: `pool` is the shared cluster, `external` is outside of it."""
        return self.engine.serving_domain if isinstance(self.engine, OpenAiEngine) else "pool"


def price_version_name(model_id: str, price: Price) -> str:
    """Return the name of a price: the model's id and 12 hex digits of the SHA-256 of its canonical JSON.

    The name depends on the amounts, so one version never names two prices.
    """
    digest = hashlib.sha256(rfc8785.dumps(price.model_dump())).hexdigest()
    return f"{model_id}@{digest[:PRICE_VERSION_HEX_DIGITS]}"
