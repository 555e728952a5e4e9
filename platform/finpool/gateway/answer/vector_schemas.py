"""The answers of embeddings and rankings, as the OpenAPI document shows them; they are rendered by hand for speed."""

from typing import Literal

from pydantic import BaseModel


class VectorUsage(BaseModel):
    """The charged tokens of the request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingView(BaseModel):
    """The embedding of one input: numbers, or their 32-bit floats as base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsView(BaseModel):
    """The embeddings, in the order of the inputs."""

    object: Literal["list"]
    data: list[EmbeddingView]
    model: str
    usage: VectorUsage


class DocumentView(BaseModel):
    """A document as it was sent."""

    text: str


class RankedDocument(BaseModel):
    """A document's place in the request and its relevance; without `document` if `return_documents` is false."""

    index: int
    relevance_score: float
    document: DocumentView | None = None


class RankingVersion(BaseModel):
    """The version of the API that was called."""

    version: Literal["1", "2"]


class RankingTokens(BaseModel):
    """The charged tokens of the request."""

    input_tokens: int


class RankingMeta(BaseModel):
    """The usage as Cohere's clients read it."""

    api_version: RankingVersion
    billed_units: RankingTokens
    tokens: RankingTokens


class RankingView(BaseModel):
    """Documents by their relevance, the most relevant first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: VectorUsage
    meta: RankingMeta
