"""The chat completion request. Fields that are not declared here are refused, never passed on."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from finpool.catalogue.price.schemas import Tier
from finpool.gateway.request.conversation import require_ordered
from finpool.gateway.request.generation import (
    CHOICES_MAX,
    NO_LOGIT_BIAS,
    NOT_FOR_MODELS,
    CallerText,
    Seed,
    Stops,
    StreamOptions,
    engine_fields,
    require_stream,
)
from finpool.gateway.request.messages import MESSAGES_MAX, TEXT_ONLY, Message
from finpool.gateway.request.options import (
    IgnoredOption,
    RefusedOption,
    RefusedWords,
    RequestModel,
    ServedOption,
    fault,
)
from finpool.gateway.request.tools import AnswerFormat, ToolChoice, Tools

TOP_LOGPROBS_MAX = 20
METADATA_PAIRS_MAX = 16

MetadataName = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]

NO_CUSTOM_CACHE = "the cache of a tenant's prompts has fixed rules; leave it out"
TIERS = "there are 'default' and 'flex' only"


def _ordered(messages: list[Message]) -> list[Message]:
    require_ordered(messages)
    return messages


class ChatRequest(RequestModel):
    """OpenAI's chat completion request, with vLLM's `top_k`, `min_p`, `repetition_penalty` and `ignore_eos`.

    Null, an empty list or object, and OpenAI's default count as not given, for every field.
    """

    model: str = Field(min_length=1, max_length=256, exclude=True)
    messages: Annotated[
        list[Message],
        Field(min_length=1, max_length=MESSAGES_MAX, fail_fast=True),
        AfterValidator(_ordered),
        ServedOption("each tool call needs its result, each result its call"),
    ]
    max_tokens: Annotated[int | None, ServedOption("not together with `max_completion_tokens`")] = Field(
        None, ge=1, exclude=True
    )
    max_completion_tokens: Annotated[int | None, ServedOption("reasoning counts too")] = Field(None, ge=1, exclude=True)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: Annotated[float | None, ServedOption("0 is greedy, as `temperature` 0")] = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.1, le=2)
    n: Annotated[int | None, ServedOption("at most the slots of the model's engine")] = Field(
        None, ge=1, le=CHOICES_MAX
    )
    seed: Seed = None
    stop: Stops = None
    ignore_eos: bool | None = None
    logprobs: Annotated[bool | None, ServedOption(capability="logprobs")] = None
    top_logprobs: Annotated[int | None, ServedOption("needs `logprobs`; not given: `0`")] = Field(
        None, ge=0, le=TOP_LOGPROBS_MAX
    )
    response_format: Annotated[
        AnswerFormat, ServedOption('not given: `{"type": "text"}`', capability="json_schema")
    ] = None
    tools: Annotated[Tools, ServedOption(capability="tools")] = None
    tool_choice: Annotated[ToolChoice, ServedOption('needs `tools`, but `"none"`')] = None
    parallel_tool_calls: Annotated[bool | None, ServedOption("needs `tools`, but `true`")] = None
    stream: bool | None = Field(None, exclude=True)
    stream_options: Annotated[StreamOptions | None, ServedOption("needs `stream`, but without `include_usage`")] = (
        Field(None, exclude=True)
    )
    service_tier: Annotated[
        Literal["auto", "default", "flex"] | None, RefusedWords(dict.fromkeys(("scale", "priority", "fast"), TIERS))
    ] = Field(None, exclude=True)
    user: Annotated[CallerText, IgnoredOption(NOT_FOR_MODELS)] = None
    safety_identifier: Annotated[CallerText, IgnoredOption(NOT_FOR_MODELS)] = None
    metadata: Annotated[
        Annotated[dict[MetadataName, MetadataValue], Field(max_length=METADATA_PAIRS_MAX)] | None,
        IgnoredOption(NOT_FOR_MODELS),
    ] = None
    prompt_cache_key: Annotated[CallerText, IgnoredOption("all prompts of a tenant share one cache")] = None
    store: Annotated[None, RefusedOption("answers are not kept; leave it out", False)] = None
    logit_bias: Annotated[None, RefusedOption(NO_LOGIT_BIAS)] = None
    functions: Annotated[None, RefusedOption("it is OpenAI's older form of tools; send tools")] = None
    function_call: Annotated[
        None, RefusedOption("it is OpenAI's older form of tool_choice; send tools and tool_choice", "none", "auto")
    ] = None
    modalities: Annotated[None, RefusedOption(f"{TEXT_ONLY}; leave it out", ["text"])] = None
    audio: Annotated[None, RefusedOption(f"{TEXT_ONLY}; leave it out")] = None
    prediction: Annotated[None, RefusedOption("no engine takes an expected answer; leave it out")] = None
    reasoning_effort: Annotated[
        None, RefusedOption("a model reasons as its chat template says; leave it out", "medium")
    ] = None
    verbosity: Annotated[None, RefusedOption("models are told so in the messages only; leave it out", "medium")] = None
    web_search_options: Annotated[None, RefusedOption("no model searches the web; leave it out")] = None
    moderation: Annotated[None, RefusedOption("messages and answers are not moderated; leave it out")] = None
    prompt_cache_options: Annotated[
        None,
        RefusedOption(NO_CUSTOM_CACHE, {"mode": "implicit"}, {"ttl": "30m"}, {"mode": "implicit", "ttl": "30m"}),
    ] = None
    prompt_cache_retention: Annotated[None, RefusedOption(NO_CUSTOM_CACHE, "in_memory", "in-memory")] = None

    @field_validator("max_completion_tokens")
    @classmethod
    def _is_the_only_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("max_tokens") is not None:
            raise fault("give max_completion_tokens or max_tokens, not both")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _needs_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if not value:
            return value if info.data.get("logprobs") else None
        if not info.data.get("logprobs"):
            raise fault("it needs logprobs to be true")
        return value

    @field_validator("tool_choice", "parallel_tool_calls")
    @classmethod
    def _needs_tools(cls, value: Any, info: ValidationInfo) -> Any:
        tools: Sequence[Any] | None = info.data.get("tools")
        if value is None or (not tools and value in ("none", True)):
            return value if tools else None
        if not tools:
            raise fault("it needs tools")
        named = getattr(value, "function", None)
        if named is not None and all(named.name != tool.function.name for tool in tools):
            raise fault(f"no tool has the name '{named.name}'")
        return value

    @field_validator("stream_options")
    @classmethod
    def _needs_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        return require_stream(value, info)

    @property
    def tier(self) -> Tier:
        """The requested tier: `flex` is OpenAI's word for cheaper service that may wait."""
        return Tier.BATCH if self.service_tier == "flex" else Tier.STANDARD

    @property
    def choices(self) -> int:
        """The number of requested answers."""
        return self.n or 1

    @property
    def output_tokens_asked(self) -> int | None:
        """The requested longest answer, or None."""
        return self.max_completion_tokens or self.max_tokens

    def engine_body(self, output_tokens: int) -> dict[str, Any]:
        """Return the engine's request: the fields that steer generation, and none about the caller."""
        messages = [message.for_engines() for message in self.messages]
        steering = engine_fields(self, self.model_fields_set & _FOR_ENGINES)
        return {"messages": messages, **steering, "max_tokens": output_tokens}


_FOR_ENGINES = frozenset(
    name for name, field in ChatRequest.model_fields.items() if not field.exclude and name != "messages"
)
"""The fields that engines get beside the messages; those that are refused or ignored are None in every request."""
