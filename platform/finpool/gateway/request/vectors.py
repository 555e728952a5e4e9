"""The requests for embeddings and rankings. Fields that are not declared here are refused, never passed on."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag

from finpool.catalogue.model.schemas import Model
from finpool.gateway.request.options import IgnoredOption, RefusedOption, RequestModel, ServedOption, fault, refusal
from finpool.gateway.request.tokens import SPECIAL_TOKENS_MAX, tokens_bound

INPUTS_MAX = 2048
"""OpenAI's limit."""

DOCUMENTS_MAX = 1000
DIMENSIONS_MAX = 65_536

PAIR_TOKENS_MAX = 256
"""Tokens that a model may add to a query and a document: separators, or a template with its instruction."""

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=INPUTS_MAX, fail_fast=True)]
User = Annotated[
    Annotated[str, Field(max_length=512)] | None, IgnoredOption("it describes the caller, and no model sees it")
]


def as_texts(given: Any, no_tokens: str) -> Any:
    """Return a single text as a list of one, and a list as it is; refuse arrays of tokens with the reason."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise fault("it must be a text or a list of texts")
    if any(isinstance(each, int | list) for each in given):
        raise refusal(no_tokens)
    return given


def _as_inputs(given: Any) -> Any:
    return as_texts(given, "token arrays are not taken; send texts (in LangChain: check_embedding_ctx_length=False)")


class EmbeddingRequest(RequestModel):
    """OpenAI's request for embeddings. Null counts as not given, for every field."""

    model: str = Field(min_length=1, max_length=256)
    input: Annotated[
        Texts,
        BeforeValidator(_as_inputs, json_schema_input_type=Text | Texts),
        ServedOption("token arrays are refused: send texts (in LangChain: `check_embedding_ctx_length=False`)"),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, ServedOption(capability="dimensions")] = Field(None, ge=1, le=DIMENSIONS_MAX)
    user: User = None

    _input_bounds: list[int] = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Bound the texts now: a large body is parsed in a thread, and the rest of a request is not."""
        self._input_bounds = list(map(tokens_bound, self.input))

    def engine_body(self) -> dict[str, Any]:
        """Return the engine's request."""
        dimensions = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"input": self.input, **dimensions}

    def input_tokens_bound(self, model: Model) -> int:
        """Return the largest number of input tokens; the engine refuses an input that exceeds its context."""
        around = sum(map(tokens_bound, model.prefixes)) + SPECIAL_TOKENS_MAX
        return sum(min(around + bound, model.context_tokens) for bound in self._input_bounds)


class Document(RequestModel):
    """A document as an object."""

    text: Text


def _kind_of(document: Any) -> str | None:
    if isinstance(document, str):
        return "<text>"
    return "<object>" if isinstance(document, dict) else None


TextOrDocument = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[Document, Tag("<object>")],
    Discriminator(
        _kind_of, custom_error_type="whole", custom_error_message="it must be a text or an object with a text"
    ),
]


def _as_documents(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


_WHOLE_TEXTS = "no text is cut: a longer one is refused, so shorten it"
_ONE_SCORE = "a document is ranked as a whole, by one score"
_NORMALISED_BY_VERSION = "each version of a model gives scores in its own way"


class RerankRequest(RequestModel):
    """The ranking request of Jina, Cohere and vLLM. Null counts as not given, for every field."""

    model: str = Field(min_length=1, max_length=256)
    query: Text
    documents: Annotated[
        Annotated[list[TextOrDocument], Field(min_length=1, max_length=DOCUMENTS_MAX, fail_fast=True)],
        BeforeValidator(_as_documents),
    ]
    top_n: int | None = Field(None, ge=1)
    return_documents: Annotated[
        bool | None, ServedOption("not given: true as Jina and vLLM have it, false on `/v2/rerank` as Cohere has it")
    ] = None
    user: User = None

    # Of Cohere.
    max_tokens_per_doc: Annotated[Any, RefusedOption(_WHOLE_TEXTS, 4096)] = None
    max_chunks_per_doc: Annotated[Any, RefusedOption(_ONE_SCORE, 10)] = None
    rank_fields: Annotated[Any, RefusedOption("a document has one field, its text", ["text"])] = None
    relevant_spans: Annotated[Any, RefusedOption(_ONE_SCORE)] = None
    priority: Annotated[Any, RefusedOption("each tenant has its own queue; leave it out", 0)] = None

    # Of Jina.
    truncation: Annotated[Any, RefusedOption(_WHOLE_TEXTS, False)] = None
    max_doc_length: Annotated[Any, RefusedOption(_WHOLE_TEXTS)] = None
    max_query_length: Annotated[Any, RefusedOption(_WHOLE_TEXTS)] = None
    return_embeddings: Annotated[Any, RefusedOption("`POST /v1/embeddings` gives embeddings", False)] = None

    # Of vLLM.
    truncate_prompt_tokens: Annotated[Any, RefusedOption(_WHOLE_TEXTS)] = None
    truncation_side: Annotated[Any, RefusedOption(_WHOLE_TEXTS)] = None
    padding: Annotated[Any, RefusedOption("no text is padded", "do_not_pad")] = None
    use_activation: Annotated[Any, RefusedOption(_NORMALISED_BY_VERSION)] = None
    activation: Annotated[Any, RefusedOption(_NORMALISED_BY_VERSION)] = None
    mm_processor_kwargs: Annotated[Any, RefusedOption("models take and give text only; leave it out")] = None
    request_id: Annotated[Any, RefusedOption("send the header x-request-id")] = None
    cache_salt: Annotated[Any, RefusedOption("each tenant has a salt of its own already; leave it out")] = None

    _query_bound: int = PrivateAttr()
    _document_bounds: list[int] = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Bound the texts now: a large body is parsed in a thread, and the rest of a request is not."""
        self._query_bound = tokens_bound(self.query)
        self._document_bounds = list(map(tokens_bound, self.texts))

    @property
    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    def engine_body(self) -> dict[str, Any]:
        """Return the engine's request."""
        return {"query": self.query, "documents": self.texts}

    def input_tokens_bound(self, model: Model) -> int:
        """Return the largest number of input tokens; the query counts with each document."""
        around = self._query_bound + sum(map(tokens_bound, model.prefixes)) + PAIR_TOKENS_MAX
        return sum(min(around + bound, model.context_tokens) for bound in self._document_bounds)


VectorRequest = EmbeddingRequest | RerankRequest
