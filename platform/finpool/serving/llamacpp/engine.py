"""llama.cpp as an engine: one model in this process, several requests at once, an immediate abort."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import xllamacpp

from finpool.catalogue.model.schemas import Model
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import new_id
from finpool.serving.counters import Counters, counters_for
from finpool.serving.engine.capacity import requests_ongoing_max
from finpool.serving.engine.prompts import PROMPT_FIELD, PromptRuns
from finpool.serving.engine.vectors import unsupported
from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.answer import AnswerForm, LlamaCppAnswer
from finpool.serving.llamacpp.generation import Generation
from finpool.serving.llamacpp.listener import Listener
from finpool.serving.llamacpp.parameters import chat_parameters
from finpool.serving.llamacpp.prefill import Handle, Prefill
from finpool.serving.llamacpp.request import completion_requests, llamacpp_request, refusal
from finpool.serving.llamacpp.tokenizer import COUNT_SECONDS_MAX, Tokenizer
from finpool.serving.llamacpp.vocabulary import read_vocabulary

WARM_UP = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


class LlamaCpp:
    """A llama.cpp chat engine. All methods belong to one event loop; generation runs in its own threads."""

    def __init__(self, model: Model, weights: Path) -> None:
        """Load the weights and generate one token, which takes seconds; raise `EngineFailed` if that fails."""
        self.model = model
        self.counters = Counters()
        self._vocabulary = read_vocabulary(weights)
        self._control_tokens = self._vocabulary.control_tokens()
        parameters = chat_parameters(model, weights)
        self._server = xllamacpp.Server(parameters)
        self._listener = Listener(self._server.listening_address, parameters.api_keys[0], seconds_max=COUNT_SECONDS_MAX)
        self._tokenizer = Tokenizer(self._listener, refusal({}))
        self._threads = ThreadPoolExecutor(requests_ongoing_max(model.engine), thread_name_prefix="generation")
        self._prefill = Prefill(
            parameters.n_parallel,
            model.context_tokens,
            self._tokenizer,
            self._server.handle_completions,
            self._threads,
        )
        self._warm_up()

    def generate(self, body: Mapping[str, Any]) -> Generation:
        """Start a chat completion; raise `EngineRefused` for a request that this engine cannot serve."""
        request = self._request(body)
        counters = counters_for(body, self.counters)
        counters.requests += 1
        answer = self._answer(new_id("chatcmpl"), request, AnswerForm.of(body))
        return self._start(self._server.handle_chat_completions, answer, request, counters, tenant_of(body))

    def complete(self, body: Mapping[str, Any]) -> PromptRuns:
        """Start a text completion; raise `EngineRefused` for a request that this engine cannot serve."""
        form, counters = AnswerForm.of(body), counters_for(body, self.counters)
        requests = completion_requests(body, self.model, self._control_tokens)
        counters.requests += 1
        starts = [partial(self._complete, each, form, counters, tenant_of(body)) for each in requests]
        return PromptRuns(starts, form.choices, counters)

    def embed(self, body: Mapping[str, Any]) -> Generation:
        """Raise `EngineRefused`: a chat model gives no embeddings."""
        raise unsupported(self.model.id, "give embeddings")

    def rerank(self, body: Mapping[str, Any]) -> Generation:
        """Raise `EngineRefused`: a chat model ranks no documents."""
        raise unsupported(self.model.id, "rank documents")

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Return the exact number of input tokens of a conversation, or of a text completion's prompts together."""
        if PROMPT_FIELD in body:
            prompts = completion_requests(body, self.model, self._control_tokens)
            return sum([await self._tokenizer.count(each) for each in prompts])
        return await self._tokenizer.count(self._request(body))

    async def healthy(self) -> bool:
        """Tell whether the engine generates a token now; the test waits for a free slot like any request."""
        request = self._request(WARM_UP)
        answer = self._answer("health", request)
        generation = self._start(self._server.handle_chat_completions, answer, request, Counters(), tenant="")
        try:
            async for _ in generation:
                pass
        except DomainError:
            return False
        finally:
            generation.abort()
        return answer.usage.output_tokens > 0

    async def close(self) -> None:
        """Close the connections within this process; the model stays loaded until the process ends."""
        await self._listener.close()

    def _warm_up(self) -> None:
        request = self._request(WARM_UP)
        answer = self._answer("warm-up", request)
        self._server.handle_chat_completions(
            orjson.dumps(request).decode(),
            lambda chunk: bool(answer.accept(orjson.loads(chunk))) and False,
        )
        if answer.usage.output_tokens == 0:
            raise EngineFailed(f"The model {self.model.id} generated nothing when it was started.")

    def _complete(self, request: dict[str, Any], form: AnswerForm, counters: Counters, tenant: str) -> Generation:
        answer = self._answer(new_id("cmpl"), request, form)
        return self._start(self._server.handle_completions, answer, request, counters, tenant)

    def _start(
        self, handle: Handle, answer: LlamaCppAnswer, request: dict[str, Any], counters: Counters, tenant: str
    ) -> Generation:
        generation = Generation(answer, counters)
        generation.start(handle, self._threads, request, self._prefill, tenant)
        return generation

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return llamacpp_request(body, self.model, self._control_tokens)

    def _answer(self, answer_id: str, request: Mapping[str, Any], form: AnswerForm | None = None) -> LlamaCppAnswer:
        return LlamaCppAnswer(self.model.id, answer_id, refusal(request), self._vocabulary, form or AnswerForm())


def tenant_of(body: Mapping[str, Any]) -> str:
    """Return a name of the request's tenant: the gateway gives all its requests one salt."""
    return str(body.get("cache_salt") or "")
