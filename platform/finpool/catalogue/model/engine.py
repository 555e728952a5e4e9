"""The engines of a model's declaration, with the settings of each."""

import ipaddress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator

from finpool.catalogue.model.prefill_bound import LLAMACPP_STEP_TOKENS, VLLM_STEP_TOKENS, PrefillBound

REPLICAS_MAX = 64

PREFIX_CHARACTERS_MAX = 256

EXPRESS_SLOTS = 1
"""Slots of each engine beyond the declared ones, for tenants without a running request."""


Scoring = Literal["cross_encoder", "cosine"]


class Declaration(BaseModel):
    """Base of every declaration: unknown fields are refused, and nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PoolEngine(Declaration):
    """Settings of every engine in the pool: the number of its engine replicas, and the rules for them.

    A replica is added while each has more than `slots` running requests. With `service_ahead_max` one is also added
    while the uncomputed service (input tokens + 2 x output tokens) per replica exceeds it. A replica is removed after
    `idle_seconds` of less load; with `replicas_min` 0 the last one too. A request to an engine without replicas starts
    one: `cold_start` says whether it waits, or is refused with a time to retry.

    Embedding models are trained with a text before each input. `query_prefix` goes before an input to embed and before
    the query of a ranking by cosine, `document_prefix` before each of its documents. Their tokens count as input.
    """

    slots: StrictInt = Field(ge=1)
    threads: StrictInt = Field(ge=1, le=1024)
    replicas_min: StrictInt = Field(1, ge=0, le=REPLICAS_MAX)
    replicas_max: StrictInt = Field(1, ge=1, le=REPLICAS_MAX)
    service_ahead_max: StrictInt | None = Field(None, ge=1)
    idle_seconds: StrictInt = Field(300, ge=10, le=86_400)
    cold_start: Literal["refuse", "queue"] = "queue"
    query_prefix: str = Field("", max_length=PREFIX_CHARACTERS_MAX)
    document_prefix: str = Field("", max_length=PREFIX_CHARACTERS_MAX)

    @model_validator(mode="after")
    def _has_replicas_in_order(self) -> Self:
        if self.replicas_min > self.replicas_max:
            raise ValueError("replicas_min is above replicas_max")
        return self

    @property
    def may_sleep(self) -> bool:
        """Whether the engine may scale to zero replicas."""
        return self.replicas_min == 0

    @property
    def replicas_first(self) -> int:
        """Engine replicas at the start: at least one, because the engine is tested before it scales to zero."""
        return max(1, self.replicas_min)


class LlamaCppEngine(PoolEngine):
    """llama.cpp: each engine replica is one process that computes `slots` requests at once with `threads` CPU threads.

    `pooling` is how an embedding or rerank model reduces a text to one vector or score; None reads it from the weights,
    and weights without it do not start. `scoring` is how a rerank model compares: a cross encoder reads query and
    document together; `cosine` compares the vectors of an embedding model.
    """

    name: Literal["llamacpp"]
    slots: StrictInt = Field(ge=1, le=64)
    pooling: Literal["mean", "cls", "last", "rank"] | None = None
    scoring: Scoring = "cross_encoder"

    @property
    def prefill_bound(self) -> PrefillBound:
        """A step of one prompt, another prompt ready for the next step, and one of a newcomer."""
        return PrefillBound(LLAMACPP_STEP_TOKENS, 2 * LLAMACPP_STEP_TOKENS, LLAMACPP_STEP_TOKENS).times(
            self.replicas_max
        )


class LoraSlots(Declaration):
    """Capacity for adapters beside the base model: `slots` of them in one batch, each of at most rank `rank_max`."""

    slots: StrictInt = Field(ge=1, le=64)
    rank_max: Literal[8, 16, 32, 64, 128, 256] = 16


class VllmEngine(PoolEngine):
    """vLLM through `ray.serve.llm`: each engine replica generates `slots` requests at once (`max_num_seqs`).

    On `cuda` a replica takes `tensor_parallel` x `pipeline_parallel` accelerators, or a part of one
    (`accelerator_percent`), and `threads` CPU cores. On `cpu` it takes `threads` cores and `kv_cache_gibibytes` of
    memory for its cache. `accelerator` is Ray's name of a kind, such as H100; None is any kind. `pooling` is how an
    embedding model reduces a text to one vector; None reads it from the model's files. `scoring` is as for llama.cpp.
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
                raise ValueError("device cpu has no accelerators, so leave their fields out")
            if self.kv_cache_gibibytes is None:
                raise ValueError("device cpu needs kv_cache_gibibytes")
        elif self.kv_cache_gibibytes is not None:
            raise ValueError("kv_cache_gibibytes is for device cpu; on cuda say accelerator_memory_percent")
        if self.accelerator_percent != 100 and self.accelerators > 1:
            raise ValueError("a part of an accelerator goes with tensor_parallel and pipeline_parallel of 1 only")
        return self

    @property
    def prefill_bound(self) -> PrefillBound:
        """Half a step for all tenants, and half for newcomers, so that a newcomer's prompt fits into the next step.

        vLLM computes each of the four choices of a request by itself, and together they fill the shared half.
        """
        step = VLLM_STEP_TOKENS[self.device]
        return PrefillBound(step // 8, step // 2, step // 2).times(self.replicas_max)

    @property
    def accelerators(self) -> int:
        """Accelerators of one engine replica."""
        return self.tensor_parallel * self.pipeline_parallel


class OpenAiEngine(Declaration):
    """A remote engine with OpenAI's API: vLLM on other accelerators, a bank's own engine, a public API.

    All gateway replicas together run at most `slots` requests there. `secret` names the key file; its name begins with
    `remote_`, so no declaration can send another secret of the platform away. `extensions` lists the engine's fields
    beyond OpenAI's; every other such field is refused. `text_completions` says that it has `/completions` too.
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
    text_completions: StrictBool = False
    extensions: frozenset[
        Literal["top_k", "min_p", "repetition_penalty", "ignore_eos", "cache_salt", "continue_final_message"]
    ] = frozenset()

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
    def prefill_bound(self) -> None:
        """None: the platform cannot see its steps."""
        return

    @property
    def replicas_max(self) -> int:
        """One: the platform cannot see the engine replicas behind the address."""
        return 1

    @property
    def replicas_first(self) -> int:
        """None: the pool starts no engine replica."""
        return 0

    @property
    def may_sleep(self) -> bool:
        """False: the platform cannot observe it."""
        return False

    @property
    def threads(self) -> int:
        """CPU cores of the pool: none."""
        return 0


Engine = Annotated[LlamaCppEngine | VllmEngine | OpenAiEngine, Field(discriminator="name")]


def _is_within(host: str) -> bool:
    """Tell whether the host is on this machine, in a private network, or a service of the Kubernetes cluster."""
    if host == "localhost" or host.endswith((".svc", ".svc.cluster.local")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
