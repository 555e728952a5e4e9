"""What a request for embeddings or for a ranking may say. A field that is not here is refused, never passed on."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from finpool.gateway.request.chat import RequestModel

INPUTS_MAX = 2048
"""As many as OpenAI takes."""

DOCUMENTS_MAX = 1000
DIMENSIONS_MAX = 65_536

SPECIAL_TOKENS_MAX = 16
"""Tokens that a model may put around one input: its beginning, its end, a prefix of one word."""

PAIR_TOKENS_MAX = 256
"""Tokens that a model may put around a query and a document: separators, or a template with its instruction."""

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=INPUTS_MAX)]


class EmbeddingRequest(RequestModel):
    """OpenAI's request for embeddings. `user` is taken for compatibility and goes nowhere."""

    model: str = Field(min_length=1, max_length=256)
    input: Texts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=DIMENSIONS_MAX)
    user: str | None = Field(None, max_length=512)

    @field_validator("input", mode="before", json_schema_input_type=Text | Texts)
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and any(isinstance(each, int | list) for each in value):
            raise ValueError("token arrays are not taken, send texts (in LangChain: check_embedding_ctx_length=False)")
        return value

    def engine_body(self) -> dict[str, Any]:
        """Return what the engine is asked."""
        dimensions = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"input": self.input, **dimensions}

    def input_tokens_bound(self, context_tokens: int) -> int:
        """Return the most tokens that the engine can read: it refuses an input that is longer than its context."""
        return sum(min(tokens_bound(text) + SPECIAL_TOKENS_MAX, context_tokens) for text in self.input)


class Document(RequestModel):
    """A document as an object."""

    text: Text


class RerankRequest(RequestModel):
    """The request that Jina, Cohere and vLLM share. `user` is taken for compatibility and goes nowhere."""

    model: str = Field(min_length=1, max_length=256)
    query: Text
    documents: Annotated[list[Text | Document], Field(min_length=1, max_length=DOCUMENTS_MAX)]
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None
    user: str | None = Field(None, max_length=512)

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    def engine_body(self) -> dict[str, Any]:
        """Return what the engine is asked."""
        return {"query": self.query, "documents": self.texts}

    def input_tokens_bound(self, context_tokens: int) -> int:
        """Return the most tokens that the engine can read: the query stands beside each document."""
        around = tokens_bound(self.query) + PAIR_TOKENS_MAX
        return sum(min(around + tokens_bound(text), context_tokens) for text in self.texts)


VectorRequest = EmbeddingRequest | RerankRequest


def tokens_bound(text: str) -> int:
    """Return the most tokens that a text can be.

    A tokenizer never makes more tokens than bytes; but some normalise first, and NFKC writes one sign out as up to
    eighteen characters.
    """
    if text.isascii():
        return len(text)
    return max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))
