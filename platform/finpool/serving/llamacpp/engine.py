"""llama.cpp as an engine: one model in this process, several requests at once, an immediate abort."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

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
from finpool.serving.llamacpp.grammar_check import GrammarCheck
from finpool.serving.llamacpp.listener import Listener
from finpool.serving.llamacpp.parameters import chat_parameters
from finpool.serving.llamacpp.request import completion_requests, llamacpp_request, refusal
from finpool.serving.llamacpp.tokenizer import COUNT_SECONDS_MAX, Tokenizer
from finpool.serving.llamacpp.vocabulary import read_vocabulary

WARM_UP = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}

Handle = Callable[[str, Callable[[str], bool]], None]
"""A request of llama.cpp in this process: it takes the body, and calls back with each chunk until that returns True."""


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
        self._warm_up()

    def generate(self, body: Mapping[str, Any]) -> "Generation":
        """Start a chat completion; raise `EngineRefused` for a request that this engine cannot serve."""
        request = self._request(body)
        counters = counters_for(body, self.counters)
        counters.requests += 1
        answer = self._answer(new_id("chatcmpl"), request, AnswerForm.of(body))
        return self._start(self._server.handle_chat_completions, answer, request, counters)

    def complete(self, body: Mapping[str, Any]) -> PromptRuns:
        """Start a text completion; raise `EngineRefused` for a request that this engine cannot serve."""
        form, counters = AnswerForm.of(body), counters_for(body, self.counters)
        requests = completion_requests(body, self.model, self._control_tokens)
        counters.requests += 1
        return PromptRuns([partial(self._complete, each, form, counters) for each in requests], form.choices, counters)

    def embed(self, body: Mapping[str, Any]) -> "Generation":
        """Raise `EngineRefused`: a chat model gives no embeddings."""
        raise unsupported(self.model.id, "give embeddings")

    def rerank(self, body: Mapping[str, Any]) -> "Generation":
        """Raise `EngineRefused`: a chat model ranks no documents."""
        raise unsupported(self.model.id, "rank documents")

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Return the exact number of input tokens of a conversation, or of a text completion's prompts together."""
        if PROMPT_FIELD in body:
            prompts = completion_requests(body, self.model, self._control_tokens)
            return sum([await self._tokenizer.count_text(each[PROMPT_FIELD]) for each in prompts])
        return await self._tokenizer.count(self._request(body))

    async def healthy(self) -> bool:
        """Tell whether the engine generates a token now; the test waits for a free slot like any request."""
        request = self._request(WARM_UP)
        answer = self._answer("health", request)
        generation = self._start(self._server.handle_chat_completions, answer, request, Counters())
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

    def _complete(self, request: dict[str, Any], form: AnswerForm, counters: Counters) -> "Generation":
        answer = self._answer(new_id("cmpl"), request, form)
        return self._start(self._server.handle_completions, answer, request, counters)

    def _start(
        self, handle: Handle, answer: LlamaCppAnswer, request: dict[str, Any], counters: Counters
    ) -> "Generation":
        generation = Generation(answer, counters)
        generation.start(handle, self._threads, request)
        return generation

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return llamacpp_request(body, self.model, self._control_tokens)

    def _answer(self, answer_id: str, request: Mapping[str, Any], form: AnswerForm | None = None) -> LlamaCppAnswer:
        return LlamaCppAnswer(self.model.id, answer_id, refusal(request), self._vocabulary, form or AnswerForm())


class Generation(AsyncIterator[dict[str, Any]]):
    """The chunks of one completion, the exact usage last. Every generation must be aborted or read to its end."""

    def __init__(self, answer: LlamaCppAnswer, counters: Counters) -> None:
        self._answer = answer
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[dict[str, Any] | DomainError | None] = asyncio.Queue()
        self._check: GrammarCheck | None = None
        self._stop = False
        self._ended = False

    def start(self, handle: Handle, threads: ThreadPoolExecutor, request: dict[str, Any]) -> None:
        """Submit the request to the engine, in a thread that lasts as long as the generation."""
        self._counters.running += 1
        if "grammar" in request:
            self._check = GrammarCheck(request["grammar"])
        threads.submit(self._run, handle, orjson.dumps(request).decode())

    def abort(self) -> None:
        """Stop generating: at once between two tokens, or after the current batch of a prompt."""
        if not self._ended and not self._stop:
            self._stop = True
            self._counters.aborted += 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next chunk in OpenAI's shape; raise `EngineRefused` or `EngineFailed`."""
        arrived = await self._arrived.get()
        if arrived is None:
            raise StopAsyncIteration
        if isinstance(arrived, DomainError):
            raise arrived
        return arrived

    def _run(self, handle: Handle, request: str) -> None:
        """Run the request in its own thread; all changes of this object's state happen in the event loop."""
        failure: DomainError | None = None
        if not self._stop:
            try:
                handle(request, self._on_chunk)
            except ValueError:
                failure = self._answer.refusal
            except Exception:
                # The engine's text may repeat the prompt, and this message reaches the caller.
                failure = EngineFailed("The model failed to answer.")
        self._loop.call_soon_threadsafe(self._leave, failure)

    def _on_chunk(self, chunk: str) -> bool:
        """Pass a chunk from the engine's thread to the event loop; return True to stop the generation."""
        fault = None if self._check is None else self._check.fault(chunk)
        self._loop.call_soon_threadsafe(self._accept, chunk, fault)
        return self._stop

    def _accept(self, raw_chunk: str, fault: DomainError | None) -> None:
        """Count a chunk, also after an abort, because the engine has computed it; end with a `fault` of its text."""
        before = self._answer.usage
        try:
            chunks = self._answer.accept(orjson.loads(raw_chunk))
        except DomainError as error:
            self._end(error)
            return
        after = self._answer.usage
        self._counters.input_tokens += after.input_tokens - before.input_tokens
        self._counters.output_tokens += after.output_tokens - before.output_tokens
        if fault is not None:
            self._stop = True
            self._end(fault)
            return
        for chunk in chunks:
            self._arrived.put_nowait(chunk)
        if self._answer.stopped_early:
            self._stop = True

    def _leave(self, failure: DomainError | None) -> None:
        """End after every chunk of the engine: an abort is complete only when the engine has stopped."""
        self._counters.running -= 1
        self._end(failure)

    def _end(self, failure: DomainError | None) -> None:
        if self._ended:
            return
        self._ended = True
        if failure is None:
            self._arrived.put_nowait(self._answer.conclusion())
        self._arrived.put_nowait(failure)
