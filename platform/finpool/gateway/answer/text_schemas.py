"""The answers of text completions, as the OpenAPI document shows them; they are rendered by hand for speed."""

from typing import Literal

from pydantic import BaseModel

from finpool.gateway.answer.schemas import ChatUsage


class TextLogprobs(BaseModel):
    """Log probabilities of the text's tokens: four lists with one entry for each token.

    An entry of `top_logprobs` has the most probable tokens and the token itself. An entry of `text_offset` is the
    token's place in the choice's whole text, the echoed prompt included.
    """

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoiceView(BaseModel):
    """One completion, or the part of it in a chunk. Its index is the prompt's times `n`, plus the number among `n`."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str | None


class TextCompletionHead(BaseModel):
    """The common fields of a text completion and its chunks."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    object: Literal["text_completion"]
    choices: list[TextChoiceView]


class TextCompletionView(TextCompletionHead):
    """A whole text completion."""

    usage: ChatUsage


class TextCompletionChunk(TextCompletionHead):
    """One event of a streamed text completion. With `include_usage` each has `usage`, null in all but the last, which
    has no choices.
    """

    usage: ChatUsage | None = None
