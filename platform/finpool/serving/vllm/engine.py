"""vLLM as an engine, inside a replica that `ray.serve.llm` has started."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Protocol, Self

from ray.llm._internal.serve.core.configs.openai_api_models import ChatCompletionRequest, ErrorResponse
from vllm.entrypoints.serve.tokenize.protocol import TokenizeChatRequest, TokenizeResponse

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.kernel.errors import DomainError
from finpool.serving.engine.counters import Counters, counters_for
from finpool.serving.engine.vectors import unsupported
from finpool.serving.errors import EngineFailed, EngineUnavailable
from finpool.serving.schemas import ADAPTER_FIELD
from finpool.serving.vllm.answer import VllmAnswer, refused
from finpool.serving.vllm.request import tokenize_request, vllm_request

PROBE = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
"""What a health check and the warm-up ask: one real token."""


class ChatServer(Protocol):
    """What is used of Ray's engine object."""

    def chat(self, request: ChatCompletionRequest) -> AsyncGenerator[Any, None]:
        """Yield server-sent events as texts, or one `ErrorResponse`."""


class TokenizeServer(Protocol):
    """What is used of vLLM's own tokenizer; Ray 2.60 looks for it under a name that vLLM 0.29 no longer has."""

    async def create_tokenize(self, request: TokenizeChatRequest, raw_request: None) -> Any:
        """Return a `TokenizeResponse` or an error."""


class Vllm:
    """The engine. All methods belong to one event loop; generation runs in processes of its own."""

    def __init__(
        self,
        model: Model,
        chat: ChatServer,
        tokenizer: TokenizeServer,
        *,
        base_name: str,
        adapters: frozenset[str],
    ) -> None:
        """`base_name` is what the engine calls the model itself.

        `adapters` are the SHA-256 of those that are loaded; a request for any other is turned away.
        """
        self.model = model
        self.counters = Counters()
        self._chat = chat
        self._tokenizer = tokenizer
        self._base_name = base_name
        self._adapters = adapters

    def generate(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Start a chat completion; raise `EngineRefused` for a request that this engine cannot serve."""
        counters = counters_for(body, self.counters)
        generation = self._start(body, counters)
        counters.requests += 1
        return generation

    def embed(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Raise `EngineRefused`: the model chats."""
        raise unsupported(self.model.id, "give embeddings")

    def rerank(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Raise `EngineRefused`: the model chats."""
        raise unsupported(self.model.id, "rank documents")

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Return exactly how many input tokens a chat completion would have."""
        request = TokenizeChatRequest.model_validate(tokenize_request(self._request(body)))
        answer = await self._tokenizer.create_tokenize(request, None)
        if isinstance(answer, TokenizeResponse):
            return int(answer.count)
        raise refused(answer.error.message, answer.error.code)

    async def healthy(self) -> bool:
        """Tell whether the engine gives a token now; it waits for a free slot, as any request does."""
        generation = self._start(PROBE, Counters())
        try:
            async for _ in generation:
                pass
        except DomainError:
            return False
        finally:
            generation.abort()
        return generation.usage.output_tokens > 0

    def _start(self, body: Mapping[str, Any], counters: Counters) -> "VllmGeneration":
        request = ChatCompletionRequest.model_validate(self._request(body))
        return VllmGeneration(VllmAnswer(self.model.id), self._chat.chat(request), counters)

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return vLLM's request; raises `EngineUnavailable` for an adapter that this engine could not load."""
        if body.get(ADAPTER_FIELD) not in (None, *self._adapters):
            raise EngineUnavailable("The adapter is not loaded.")
        return vllm_request(body, self.model, self._base_name)


class VllmGeneration(AsyncIterator[dict[str, Any]]):
    """The chunks of one chat completion, the exact usage last. Every generation must be aborted or read to its end."""

    def __init__(self, answer: VllmAnswer, events: AsyncGenerator[Any, None], counters: Counters) -> None:
        self._answer = answer
        self._events = events
        self._counters = counters
        self._counters.running += 1
        self._left = False
        self._closing: asyncio.Future[None] | None = None

    @property
    def usage(self) -> TokenUsage:
        """What the engine has reported so far."""
        return self._answer.usage

    def abort(self) -> None:
        """Stop generating: vLLM aborts a request whose events nobody reads any more."""
        if not self._left and self._closing is None:
            self._counters.aborted += 1
            self._closing = asyncio.ensure_future(self._close())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next chunk in OpenAI's shape; raise `EngineRefused` or `EngineFailed`."""
        if self._left or self._closing is not None:
            raise StopAsyncIteration
        try:
            return await self._next()
        except (DomainError, StopAsyncIteration):
            self._leave()
            raise
        except Exception as error:
            # The engine's words may repeat the prompt, and this one is told to the caller.
            self._leave()
            raise EngineFailed("The model failed to answer.") from error

    async def _next(self) -> dict[str, Any]:
        event = await anext(self._events)
        if isinstance(event, ErrorResponse):
            raise refused(event.error.message, event.error.code)
        before = self._answer.usage
        chunk = self._answer.accept(event)
        if chunk is None:
            raise StopAsyncIteration
        after = self._answer.usage
        self._counters.input_tokens += after.input_tokens - before.input_tokens
        self._counters.cached_input_tokens += after.cached_input_tokens - before.cached_input_tokens
        self._counters.output_tokens += after.output_tokens - before.output_tokens
        return chunk

    async def _close(self) -> None:
        """Close what was read from: that is what tells vLLM. A request that failed on the way has ended as well."""
        with contextlib.suppress(Exception):
            await self._events.aclose()
        self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._counters.running -= 1
