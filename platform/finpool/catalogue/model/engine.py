"""The engines that a model can be declared with, and what each of them may be told."""

import ipaddress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator

REPLICAS_MAX = 64

EXPRESS_SLOTS = 1
"""Slots of each engine beyond those that are declared, for tenants that have nothing under way."""


Scoring = Literal["cross_encoder", "cosine"]


class Declaration(BaseModel):
    """Base of everything that is declared: unknown fields are refused, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PoolEngine(Declaration):
    """What every engine of the pool can be told: how many replicas of it there are, and when they come and go.

    Replicas are added while more than `slots` requests are under way at each, or while more service than
    `service_ahead_max` (input tokens + 2 x output tokens; None: whatever it is) is expected of these and not computed
    yet. They go after `idle_seconds` with less to do. With `replicas_min` 0 the last one goes as well. A request to an
    engine that sleeps wakes it: `cold_start` says whether it waits for that, or is refused and told when to come again.
    """

    slots: StrictInt = Field(ge=1)
    threads: StrictInt = Field(ge=1, le=1024)
    replicas_min: StrictInt = Field(1, ge=0, le=REPLICAS_MAX)
    replicas_max: StrictInt = Field(1, ge=1, le=REPLICAS_MAX)
    service_ahead_max: StrictInt | None = Field(None, ge=1)
    idle_seconds: StrictInt = Field(300, ge=10, le=86_400)
    cold_start: Literal["refuse", "queue"] = "queue"

    @model_validator(mode="after")
    def _has_replicas_in_order(self) -> Self:
        if self.replicas_min > self.replicas_max:
            raise ValueError("replicas_min is above replicas_max")
        return self

    @property
    def may_sleep(self) -> bool:
        """Tell whether it may have no replica at all while nobody asks."""
        return self.replicas_min == 0

    @property
    def replicas_first(self) -> int:
        """Replicas that it is started with: one that may sleep is tested before it does."""
        return max(1, self.replicas_min)


class LlamaCppEngine(PoolEngine):
    """llama.cpp: each replica is one process, which computes `slots` requests at once by `threads` CPU threads.

    `pooling` is how an embedding or rerank model makes one vector, or one score, of a text; None is what the weights
    themselves say, and weights that say nothing do not start. `scoring` is how a rerank model compares: a cross encoder
    reads query and document together, `cosine` compares the vectors of an embedding model.
    """

    name: Literal["llamacpp"]
    slots: StrictInt = Field(ge=1, le=64)
    pooling: Literal["mean", "cls", "last", "rank"] | None = None
    scoring: Scoring = "cross_encoder"


class LoraSlots(Declaration):
    """Room for adapters beside the base model: `slots` of them in one batch, each of at most this rank."""

    slots: StrictInt = Field(ge=1, le=64)
    rank_max: Literal[8, 16, 32, 64, 128, 256] = 16


class VllmEngine(PoolEngine):
    """vLLM through `ray.serve.llm`: `slots` requests are generated at once by each replica (`max_num_seqs`).

    On `cuda` a replica takes `tensor_parallel` x `pipeline_parallel` accelerators, or a part of one
    (`accelerator_percent`), and `threads` CPU cores beside them; on `cpu` it computes with `threads` cores and keeps
    its cache in `kv_cache_gibibytes` of memory. `accelerator` is Ray's name of a kind, such as H100, and None is any.
    `pooling` is how an embedding model makes one vector of a text; None is what the model's files say. `scoring` is as
    for llama.cpp.
    """

    name: Literal["vllm"]
    device: Literal["cuda", "cpu"]
    slots: StrictInt = Field(ge=1, le=1024)
    accelerator: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    accelerator_percent: StrictInt = Field(100, ge=1, le=100)
    accelerator_memory_percent: StrictInt = Field(90, ge=1, le=98)
    tensor_parallel: StrictInt = Field(1, ge=1, le=64)
    pipeline_parallel: StrictInt = Field(1, ge=1, le=64)
    kv_cache_gibibytes: StrictInt | None = Field(None, ge=1, le=4096)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: Literal["awq", "awq_marlin", "gptq", "gptq_marlin", "fp8", "compressed-tensors"] | None = None
    eager: StrictBool = False
    tool_call_parser: str | None = Field(None, pattern=r"^[a-z0-9_-]{1,64}$")
    reasoning_parser: str | None = Field(None, pattern=r"^[a-z0-9_-]{1,64}$")
    pooling: Literal["mean", "cls", "last"] | None = None
    scoring: Scoring = "cross_encoder"
    lora: LoraSlots | None = None

    @model_validator(mode="after")
    def _fits_its_device(self) -> Self:
        if self.device == "cpu":
            if self.accelerator is not None or self.accelerators > 1 or self.accelerator_percent != 100:
                raise ValueError("device cpu has no accelerators, so nothing can be said about them")
            if self.kv_cache_gibibytes is None:
                raise ValueError("device cpu needs kv_cache_gibibytes")
        elif self.kv_cache_gibibytes is not None:
            raise ValueError("kv_cache_gibibytes is for device cpu; on cuda say accelerator_memory_percent")
        if self.accelerator_percent != 100 and self.accelerators > 1:
            raise ValueError("a part of an accelerator goes with tensor_parallel and pipeline_parallel of 1 only")
        return self

    @property
    def accelerators(self) -> int:
        """Accelerators that one replica takes."""
        return self.tensor_parallel * self.pipeline_parallel


class OpenAiEngine(Declaration):
    """An engine of somebody else's that speaks OpenAI's API: vLLM on other accelerators, a bank's own, a public API.

    `slots` requests of all gateway replicas together are under way there at once. `secret` names the file with the
    key; its name begins with `remote_`, so that no declaration can send another secret of the platform away.
    `extensions` are the fields beyond OpenAI's that this engine knows: any other is refused, never sent.
    """

    name: Literal["openai"]
    base_url: str = Field(max_length=512)
    plain_http: StrictBool = False
    model: str = Field(pattern=r"^[\x21-\x7e]{1,256}$")
    secret: str = Field(pattern=r"^remote_[a-z0-9_]{1,64}$")
    serving_domain: Literal["pool", "external"]
    slots: StrictInt = Field(ge=1, le=4096)
    usage: Literal["running", "final"]
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extensions: frozenset[Literal["top_k", "min_p", "repetition_penalty", "ignore_eos", "cache_salt"]] = frozenset()

    @field_validator("base_url")
    @classmethod
    def _is_only_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or not (value.isascii() and value.isprintable()):
            raise ValueError("must be an http or https address, such as https://models.example/v1")
        if parts.username or parts.password or parts.query or parts.fragment or " " in value:
            raise ValueError("may hold no user, password, query or fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _is_encrypted_outside(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not (
            self.plain_http and self.serving_domain == "pool" and _is_within(parts.hostname or "")
        ):
            raise ValueError(
                "base_url must be https; http needs plain_http: true, serving_domain: pool and an address on loopback, "
                "in a private network or of a Kubernetes service"
            )
        return self

    @property
    def replicas_max(self) -> int:
        """One: how many stand behind the address is the other side's matter."""
        return 1

    @property
    def replicas_first(self) -> int:
        """None of ours."""
        return 0

    @property
    def may_sleep(self) -> bool:
        """Never, as far as we can tell."""
        return False

    @property
    def threads(self) -> int:
        """CPU cores of our pool that it takes: none."""
        return 0


Engine = Annotated[LlamaCppEngine | VllmEngine | OpenAiEngine, Field(discriminator="name")]


def _is_within(host: str) -> bool:
    """Tell whether a host is on this machine, in a private network, or a service of the cluster."""
    if host == "localhost" or host.endswith((".svc", ".svc.cluster.local")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
