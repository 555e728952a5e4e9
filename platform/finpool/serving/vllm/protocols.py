"""The used parts of Ray's engine object and of vLLM's tokenizer."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from ray.llm._internal.serve.core.configs.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingCompletionRequest,
    ScoreRequest,
)
from vllm.entrypoints.serve.tokenize.protocol import TokenizeChatRequest, TokenizeCompletionRequest


class GenerationServer(Protocol):
    """The used part of Ray's engine object."""

    def chat(self, request: ChatCompletionRequest) -> AsyncGenerator[Any, None]:
        """Yield server-sent events as texts, or one `ErrorResponse`."""

    def completions(self, request: CompletionRequest) -> AsyncGenerator[Any, None]:
        """Yield server-sent events as texts, or one `ErrorResponse`."""


class TokenizeServer(Protocol):
    """The used part of vLLM's tokenizer; Ray 2.60 expects a name for it that vLLM 0.29 no longer has."""

    async def create_tokenize(self, request: TokenizeChatRequest | TokenizeCompletionRequest, raw_request: None) -> Any:
        """Return a `TokenizeResponse` or an error."""


class VectorServer(Protocol):
    """The used part of Ray's engine object."""

    def embeddings(self, request: EmbeddingCompletionRequest) -> AsyncGenerator[Any, None]:
        """Yield one `EmbeddingResponse` or one `ErrorResponse`."""

    def score(self, request: ScoreRequest) -> AsyncGenerator[Any, None]:
        """Yield one `ScoreResponse` or one `ErrorResponse`."""
