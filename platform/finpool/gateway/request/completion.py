"""The text completion request. Fields that are not declared here are refused, never passed on."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

from finpool.catalogue.model.schemas import Model
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
from finpool.gateway.request.options import (
    IgnoredOption,
    RefusedOption,
    RequestModel,
    ServedOption,
    refusal,
)
from finpool.gateway.request.tokens import SPECIAL_TOKENS_MAX, tokens_bound
from finpool.gateway.request.vectors import as_texts

PROMPTS_MAX = 32
"""The engine completes them one after the other, so a long list would hold its slot for long."""

OUTPUT_TOKENS_DEFAULT = 16
"""OpenAI's default."""

LOGPROBS_MAX = 5
"""OpenAI's limit."""

Prompt = Annotated[str, Field(min_length=1)]
Prompts = Annotated[list[Prompt], Field(min_length=1, max_length=PROMPTS_MAX, fail_fast=True)]


def _as_prompts(given: Any) -> Any:
    return as_texts(given, "token arrays are not taken, because tokens have other numbers in each version; send texts")


class CompletionRequest(RequestModel):
    """OpenAI's older completion request for raw text, with vLLM's `top_k`, `min_p`, `repetition_penalty`, `ignore_eos`.

    Null, an empty list or object, and OpenAI's default count as not given, for every field but the prompt.
    """

    model: str = Field(min_length=1, max_length=256)
    prompt: Annotated[
        Prompts,
        BeforeValidator(_as_prompts, json_schema_input_type=Prompt | Prompts),
        ServedOption(
            "raw text without a chat template; a list is completed one prompt after the other; token arrays are"
            " refused, because tokens have other numbers in each version"
        ),
    ]
    max_tokens: Annotated[int | None, ServedOption("not given: `16`, as OpenAI's")] = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: Annotated[float | None, ServedOption("0 is greedy, as `temperature` 0")] = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.1, le=2)
    n: Annotated[int | None, ServedOption("for each prompt; at most the slots of the model's engine")] = Field(
        None, ge=1, le=CHOICES_MAX
    )
    best_of: Annotated[
        None, RefusedOption("an answer is not chosen among others; ask for all with n (`best_of` may equal `n`)", 1)
    ] = None
    seed: Seed = None
    stop: Stops = None
    ignore_eos: bool | None = None
    echo: Annotated[bool | None, ServedOption("not together with `logprobs`")] = None
    logprobs: Annotated[
        int | None,
        ServedOption("the token itself, and as many of the most probable ones; not with `echo`", capability="logprobs"),
    ] = Field(None, ge=0, le=LOGPROBS_MAX)
    stream: bool | None = None
    stream_options: Annotated[StreamOptions | None, ServedOption("needs `stream`, but without `include_usage`")] = None
    user: Annotated[CallerText, IgnoredOption(NOT_FOR_MODELS)] = None
    suffix: Annotated[
        None, RefusedOption("no model fills a gap within a text; send the text before it as the prompt", "")
    ] = None
    logit_bias: Annotated[None, RefusedOption(NO_LOGIT_BIAS)] = None

    _prompt_bounds: list[int] = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Bound the prompts now: a large body is parsed in a thread, and the rest of a request is not."""
        self._prompt_bounds = [tokens_bound(text) + SPECIAL_TOKENS_MAX for text in self.prompt]

    @field_validator("best_of", mode="before")
    @classmethod
    def _chooses_nothing(cls, value: Any, info: ValidationInfo) -> Any:
        return None if type(value) is int and value == info.data.get("n") else value

    @field_validator("logprobs")
    @classmethod
    def _has_no_echo(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("echo"):
            raise refusal("a prompt that echo gives back has no log probabilities; send echo or logprobs, not both")
        return value

    @field_validator("stream_options")
    @classmethod
    def _needs_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        return require_stream(value, info)

    @property
    def choices(self) -> int:
        """The number of answers to each prompt."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a last chunk of a stream has the usage."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    def output_tokens(self, model: Model) -> int:
        """Return the longest output of each answer, in tokens."""
        return self.max_tokens or min(OUTPUT_TOKENS_DEFAULT, model.output_tokens_max)

    def input_tokens_bound(self, model: Model) -> int:
        """Return the largest number of input tokens: each choice is computed from its whole prompt."""
        return sum(min(bound, model.context_tokens) for bound in self._prompt_bounds) * self.choices

    def engine_body(self, output_tokens: int) -> dict[str, Any]:
        """Return the engine's request; log probabilities are asked for as those of a chat."""
        body = {"prompt": self.prompt, **engine_fields(self, _FOR_ENGINES), "max_tokens": output_tokens}
        if self.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        return body


_FOR_ENGINES = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "n",
        "seed",
        "stop",
        "ignore_eos",
    }
)
