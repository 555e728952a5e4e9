"""One completion of llama.cpp: its prompt step by step, then its chunks, until its end or an abort."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import orjson

from finpool.kernel.errors import DomainError
from finpool.serving.counters import Counters
from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.answer import LlamaCppAnswer
from finpool.serving.llamacpp.grammar_check import GrammarCheck
from finpool.serving.llamacpp.prefill import BegunPrompt, Handle, Prefill


class Generation(AsyncIterator[dict[str, Any]]):
    """The chunks of one completion, the exact usage last. Every generation must be aborted or read to its end."""

    def __init__(self, answer: LlamaCppAnswer, counters: Counters) -> None:
        self._answer = answer
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[dict[str, Any] | DomainError | None] = asyncio.Queue()
        self._check: GrammarCheck | None = None
        self._prompt: BegunPrompt | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stop = False
        self._ended = False

    def start(
        self, handle: Handle, threads: ThreadPoolExecutor, request: dict[str, Any], prefill: Prefill, tenant: str
    ) -> None:
        """Begin the request: its prompt takes its turns, then it has a thread that lasts as long as the answer."""
        self._counters.running += 1
        if "grammar" in request:
            self._check = GrammarCheck(request["grammar"])
        self._serving = self._loop.create_task(self._serve(handle, threads, request, prefill, tenant))

    def abort(self) -> None:
        """Stop generating: at once between two tokens, or after the current step of a prompt."""
        if not self._ended and not self._stop:
            self._stop = True
            self._counters.aborted += 1
            if self._prompt is None and self._serving is not None:
                self._serving.cancel()

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

    async def _serve(
        self,
        handle: Handle,
        threads: ThreadPoolExecutor,
        request: dict[str, Any],
        prefill: Prefill,
        tenant: str,
    ) -> None:
        failure: DomainError | None = None
        try:
            async with prefill.begun(request, tenant, self._count_prompt) as self._prompt:
                body = orjson.dumps(self._prompt.request).decode()
                failure = await self._loop.run_in_executor(threads, self._run, handle, body)
        except asyncio.CancelledError:
            pass  # `abort` has cancelled the prompt; nothing else cancels this task.
        except DomainError as error:
            failure = error
        except Exception:
            failure = EngineFailed("The model failed to answer.")
        finally:
            # The calls of the engine's thread for its last chunks came before this one.
            self._loop.call_soon(self._leave, failure)

    def _run(self, handle: Handle, request: str) -> DomainError | None:
        """Run the request in its own thread; all changes of this object's state happen in the event loop."""
        if self._stop:
            return None
        try:
            handle(request, self._on_chunk)
        except ValueError:
            return self._answer.refusal
        except Exception:
            # The engine's text may repeat the prompt, and this message reaches the caller.
            return EngineFailed("The model failed to answer.")
        return None

    def _on_chunk(self, chunk: str) -> bool:
        """Pass a chunk from the engine's thread to the event loop; return True to stop the generation."""
        fault = None if self._check is None else self._check.fault(chunk)
        self._loop.call_soon_threadsafe(self._accept, chunk, fault)
        return self._stop

    def _accept(self, raw_chunk: str, fault: DomainError | None) -> None:
        """Count a chunk, also after an abort, because the engine has computed it; end with a `fault` of its text."""
        chunk = orjson.loads(raw_chunk)
        progress = chunk.get("prompt_progress")
        if self._prompt is not None and (progress is None or progress["processed"] >= progress["total"]):
            self._prompt.computed()
        try:
            chunks = self._counted(chunk)
        except DomainError as error:
            self._end(error)
            return
        if fault is not None:
            self._stop = True
            self._end(fault)
            return
        for each in chunks:
            self._arrived.put_nowait(each)
        if self._answer.stopped_early:
            self._stop = True

    def _count_prompt(self, tokens: int) -> None:
        """Count the whole prompt as soon as the engine begins it."""
        self._counted({"prompt_progress": {"total": tokens}})

    def _counted(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        before = self._answer.usage
        chunks = self._answer.accept(chunk)
        after = self._answer.usage
        self._counters.input_tokens += after.input_tokens - before.input_tokens
        self._counters.output_tokens += after.output_tokens - before.output_tokens
        return chunks

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
