"""The answers of the inference path. Only model lists use these classes; the rest is rendered by hand for speed."""

from typing import Literal, Self

from pydantic import BaseModel

from finpool.billing.contract.schemas import Quote
from finpool.catalogue.model.schemas import Model


class StandardPriceView(BaseModel):
    """The tenant's current price for standard service, in micros of `currency` per million tokens."""

    version: str
    currency: str
    input_micros_per_million_tokens: int
    cached_input_micros_per_million_tokens: int
    output_micros_per_million_tokens: int


class UsableModelView(BaseModel):
    """A model that the tenant may use, in OpenAI's shape, with the platform's own facts about it.

    An answer without `max_tokens` ends after `output_tokens_default` tokens; no answer takes more than
    `output_tokens_max`. Prompt and answer together fit into `context_tokens`. `capabilities` name optional fields that
    the model serves. `text_completions` says whether it serves `POST /v1/completions` too.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["finpool"] = "finpool"
    root: str
    kind: Literal["general", "financial", "embedding", "rerank"]
    title: str
    capabilities: list[str]
    text_completions: bool
    context_tokens: int
    output_tokens_default: int
    output_tokens_max: int
    licence: str
    filing_number: str | None
    weights_sha256: str
    weights_verified: bool
    serving_domain: Literal["pool", "external"]
    price: StandardPriceView

    @classmethod
    def of(cls, model: Model, quote: Quote, created: int) -> Self:
        """Return the answer for a model and its price."""
        return cls(
            id=model.id,
            created=created,
            root=model.id,
            kind=model.kind,
            title=model.title,
            capabilities=sorted(model.capabilities),
            text_completions=model.completes_texts,
            context_tokens=model.context_tokens,
            output_tokens_default=model.output_tokens_default,
            output_tokens_max=model.output_tokens_max,
            licence=model.licence,
            filing_number=model.filing_number,
            weights_sha256=model.weights_sha256,
            weights_verified=model.weights_verified,
            serving_domain=model.serving_domain,
            price=StandardPriceView(version=quote.price_version, **quote.declared().model_dump()),
        )


class UsableModelList(BaseModel):
    """The models that the tenant may use."""

    object: Literal["list"] = "list"
    data: list[UsableModelView]


class CalledFunction(BaseModel):
    """The function that the model calls; in a chunk, a piece of its name or its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallView(BaseModel):
    """A call of the model; in a chunk, `index` names the call of the piece."""

    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction | None = None


class TokenLogprob(BaseModel):
    """The natural logarithm of a token's probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TopLogprobs(TokenLogprob):
    """A token of the answer, and the most probable tokens in its place."""

    top_logprobs: list[TokenLogprob] = []


class Logprobs(BaseModel):
    """Probabilities of the answer's tokens."""

    content: list[TopLogprobs] | None = None
    refusal: list[TopLogprobs] | None = None


class MessageView(BaseModel):
    """The model's message; only a reasoning model has `reasoning` or `reasoning_content`."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallView] | None = None


class DeltaView(BaseModel):
    """The part of the model's message in one chunk."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallView] | None = None


class ChoiceView(BaseModel):
    """One answer."""

    index: int
    message: MessageView
    logprobs: Logprobs | None
    finish_reason: str | None


class ChoiceDelta(BaseModel):
    """The part of one answer in a chunk; the last one holds the finish reason."""

    index: int
    delta: DeltaView
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class CachedTokens(BaseModel):
    """The number of prompt tokens that came from a cache."""

    cached_tokens: int


class ReasoningTokens(BaseModel):
    """Always 0: reasoning tokens are not counted apart."""

    reasoning_tokens: int


class ChatUsage(BaseModel):
    """The charged tokens of the request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatCompletionFields(BaseModel):
    """The common fields of a completion and its chunks."""

    id: str
    created: int
    model: str
    service_tier: Literal["default", "flex"]
    system_fingerprint: str


class ChatCompletionView(ChatCompletionFields):
    """A whole chat completion."""

    object: Literal["chat.completion"]
    choices: list[ChoiceView]
    usage: ChatUsage


class ChatCompletionChunk(ChatCompletionFields):
    """One event of a streamed completion. With `include_usage` each has `usage`, null in all but the last, which has no
    choices.
    """

    object: Literal["chat.completion.chunk"]
    choices: list[ChoiceDelta]
    usage: ChatUsage | None = None
