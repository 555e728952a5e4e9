"""vLLM as an engine, in an engine replica that `ray.serve.llm` has started."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from typing import Any, Self

from ray.llm._internal.serve.core.configs.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
    ErrorResponse,
)
from vllm.entrypoints.serve.tokenize.protocol import (
    TokenizeChatRequest,
    TokenizeCompletionRequest,
    TokenizeResponse,
)

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.kernel.errors import DomainError
from finpool.serving.counters import Counters, counters_for
from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.engine.prompts import PROMPT_FIELD, PromptRuns
from finpool.serving.engine.vectors import unsupported
from finpool.serving.errors import EngineFailed, EngineUnavailable
from finpool.serving.schemas import ADAPTER_FIELD
from finpool.serving.vllm.answer import VllmAnswer, refused, text_choice
from finpool.serving.vllm.protocols import GenerationServer, TokenizeServer
from finpool.serving.vllm.request import completion_requests, tokenize_request, vllm_request

PROBE = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
"""The request of a health check and the warm-up: one real token."""


class Vllm:
    """A vLLM chat engine. All methods belong to one event loop; generation runs in its own processes."""

    def __init__(
        self,
        model: Model,
        server: GenerationServer,
        tokenizer: TokenizeServer,
        *,
        base_name: str,
        adapters: frozenset[str],
        control_tokens: ControlTokens,
    ) -> None:
        """Take the engine's parts; `base_name` is its name for the base model.

        `adapters` are the SHA-256 of the loaded adapters; a request for another one is refused. `control_tokens` are
        those of the model's tokenizer.
        """
        self.model = model
        self.counters = Counters()
        self._server = server
        self._tokenizer = tokenizer
        self._base_name = base_name
        self._adapters = adapters
        self._control_tokens = control_tokens

    def generate(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Start a chat completion; raise `EngineRefused` for a request that this engine cannot serve."""
        counters = counters_for(body, self.counters)
        generation = self._start(body, counters)
        counters.requests += 1
        return generation

    def complete(self, body: Mapping[str, Any]) -> PromptRuns:
        """Start a text completion; raise `EngineRefused` for a request that this engine cannot serve."""
        counters = counters_for(body, self.counters)
        starts = [partial(self._complete, each, body, counters) for each in self._completion_requests(body)]
        runs = PromptRuns(starts, body.get("n") or 1, counters)
        counters.requests += 1
        return runs

    def embed(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Raise `EngineRefused`: a chat model gives no embeddings."""
        raise unsupported(self.model.id, "give embeddings")

    def rerank(self, body: Mapping[str, Any]) -> "VllmGeneration":
        """Raise `EngineRefused`: a chat model ranks no documents."""
        raise unsupported(self.model.id, "rank documents")

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Return the exact number of input tokens of a conversation, or of a text completion's prompts together."""
        if PROMPT_FIELD in body:
            texts = [tokenize_request(each) for each in self._completion_requests(body)]
            requests = map(TokenizeCompletionRequest.model_validate, texts)
            return sum([await self._count(each, PROMPT_FIELD) for each in requests])
        request = tokenize_request(self._request(body))
        return await self._count(TokenizeChatRequest.model_validate(request), "messages")

    async def healthy(self) -> bool:
        """Tell whether the engine generates a token now; the test waits for a free slot like any request."""
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
        answer = VllmAnswer(self.model.id, body=body)
        return VllmGeneration(answer, self._server.chat(request), counters, "messages")

    def _complete(self, request: dict[str, Any], body: Mapping[str, Any], counters: Counters) -> "VllmGeneration":
        events = self._server.completions(CompletionRequest.model_validate(request))
        return VllmGeneration(VllmAnswer(self.model.id, text_choice, body), events, counters, PROMPT_FIELD)

    async def _count(self, request: TokenizeChatRequest | TokenizeCompletionRequest, asked: str) -> int:
        answer = await self._tokenizer.create_tokenize(request, None)
        if isinstance(answer, TokenizeResponse):
            return int(answer.count)
        raise refused(answer.error.message, answer.error.code, asked)

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return vLLM's request; raise `EngineUnavailable` for an adapter that is not loaded."""
        self._require_adapter(body)
        return vllm_request(body, self.model, self._base_name, self._control_tokens)

    def _completion_requests(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._require_adapter(body)
        return completion_requests(body, self.model, self._base_name, self._control_tokens)

    def _require_adapter(self, body: Mapping[str, Any]) -> None:
        if body.get(ADAPTER_FIELD) not in (None, *self._adapters):
            raise EngineUnavailable("The adapter is not loaded.")


class VllmGeneration(AsyncIterator[dict[str, Any]]):
    """The chunks of one completion, the exact usage last. Every generation must be aborted or read to its end."""

    def __init__(self, answer: VllmAnswer, events: AsyncGenerator[Any, None], counters: Counters, asked: str) -> None:
        """Take `asked`, the field of the request with its text."""
        self._asked = asked
        self._answer = answer
        self._events = events
        self._counters = counters
        self._counters.running += 1
        self._left = False
        self._closing: asyncio.Future[None] | None = None

    @property
    def usage(self) -> TokenUsage:
        """The tokens that the engine has reported so far."""
        return self._answer.usage

    def abort(self) -> None:
        """Stop generating: vLLM aborts a request when its event generator is closed."""
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
            # The engine's text may repeat the prompt, and this message reaches the caller.
            self._leave()
            raise EngineFailed("The model failed to answer.") from error

    async def _next(self) -> dict[str, Any]:
        if self._answer.stopped_early:
            with contextlib.suppress(Exception):
                await self._events.aclose()
            raise StopAsyncIteration
        event = await anext(self._events)
        if isinstance(event, ErrorResponse):
            raise refused(event.error.message, event.error.code, self._asked)
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
        """Close the event generator, which makes vLLM abort; a failed generator has ended as well."""
        with contextlib.suppress(Exception):
            await self._events.aclose()
        self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._counters.running -= 1
