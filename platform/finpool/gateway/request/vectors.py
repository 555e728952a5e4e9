"""The requests for embeddings and rankings. Fields that are not declared here are refused, never passed on."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from finpool.gateway.request.chat import RequestModel

INPUTS_MAX = 2048
"""OpenAI's limit."""

DOCUMENTS_MAX = 1000
DIMENSIONS_MAX = 65_536

SPECIAL_TOKENS_MAX = 16
"""Tokens that a model may add to one input: its beginning, its end, a prefix of one word."""

PAIR_TOKENS_MAX = 256
"""Tokens that a model may add to a query and a document: separators, or a template with its instruction."""

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=INPUTS_MAX)]


class EmbeddingRequest(RequestModel):
    """OpenAI's request for embeddings. `user` is accepted for compatibility and not used."""

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
        """Return the engine's request."""
        dimensions = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"input": self.input, **dimensions}

    def input_tokens_bound(self, context_tokens: int) -> int:
        """Return the largest number of input tokens; the engine refuses an input that exceeds its context."""
        return sum(min(tokens_bound(text) + SPECIAL_TOKENS_MAX, context_tokens) for text in self.input)


class Document(RequestModel):
    """A document as an object."""

    text: Text


class RerankRequest(RequestModel):
    """The ranking request of Jina, Cohere and vLLM. `user` is accepted for compatibility and not used."""

    model: str = Field(min_length=1, max_length=256)
    query: Text
    documents: Annotated[list[Text | Document], Field(min_length=1, max_length=DOCUMENTS_MAX)]
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None
    user: str | None = Field(None, max_length=512)

    @property
    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    def engine_body(self) -> dict[str, Any]:
        """Return the engine's request."""
        return {"query": self.query, "documents": self.texts}

    def input_tokens_bound(self, context_tokens: int) -> int:
        """Return the largest number of input tokens; the query counts with each document."""
        around = tokens_bound(self.query) + PAIR_TOKENS_MAX
        return sum(min(around + tokens_bound(text), context_tokens) for text in self.texts)


VectorRequest = EmbeddingRequest | RerankRequest


def tokens_bound(text: str) -> int:
    """Return the largest number of tokens of a text.

    A byte-level tokenizer never makes more tokens than bytes. Some normalise first, and NFKC expands one character to
    up to eighteen.
    """
    if text.isascii():
        return len(text)
    return max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))
