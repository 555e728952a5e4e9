"""llama.cpp in this process, without a pool, and its answers as a caller reads them."""

import asyncio
import importlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finpool.catalogue.model.schemas import Model
from finpool.serving.llamacpp.threads import let_threads_sleep
from finpool.serving.protocols import RunningGeneration

if TYPE_CHECKING:
    from finpool.serving.llamacpp.engine import LlamaCpp


@dataclass
class Said:
    """One choice of an answer: its text, its token entries, and the tokens that each part added to the usage."""

    text: str = ""
    entries: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Answered:
    """An answer that was read to its end. `parts` are the charged tokens and the text of each chunk."""

    choices: dict[int, Said]
    usage: dict[str, Any]
    parts: list[tuple[int, str]]


class LocalEngine:
    """The engine of this process, with an event loop of its own."""

    def __init__(self, model: Model, weights: Path) -> None:
        let_threads_sleep()  # Before the next line, because OpenMP reads its setting once.
        llamacpp = importlib.import_module("finpool.serving.llamacpp.engine")

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._runner = asyncio.Runner()
        self._engine: LlamaCpp = llamacpp.LlamaCpp(model, weights)
        for number, handler in before.items():
            signal.signal(number, handler)  # llama.cpp takes over the signals of its process.

    def close(self) -> None:
        """Close what belongs to the event loop."""
        self._runner.run(self._engine.close())
        self._runner.close()

    def count_input_tokens(self, body: dict[str, Any]) -> int:
        """Return the engine's count of a prompt in advance."""
        return self._runner.run(self._engine.count_input_tokens(body))

    def answer(self, body: dict[str, Any]) -> Answered:
        """Return the whole answer."""
        return self._runner.run(self._read(self._engine.generate, body))

    def complete(self, body: dict[str, Any]) -> Answered:
        """Return the whole text completion."""
        return self._runner.run(self._read(self._engine.complete, body))

    def chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the engine's chunks."""
        return self._runner.run(self._chunks(body))

    def first_tokens(self, bodies: list[dict[str, Any]]) -> list[int]:
        """Start requests in this order; return the order of their first tokens, up to the last request's."""
        return self._runner.run(self._first_tokens(bodies))

    async def _first_tokens(self, bodies: list[dict[str, Any]]) -> list[int]:
        order: list[int] = []
        generations = [self._engine.generate(body) for body in bodies]

        async def read(number: int) -> None:
            async for chunk in generations[number]:
                if chunk["usage"]["completion_tokens"] and number not in order:
                    order.append(number)

        readers = [asyncio.create_task(read(number)) for number in range(len(bodies))]
        await readers[-1]
        for generation in generations:
            generation.abort()
        await asyncio.gather(*readers)
        return order

    async def _chunks(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [chunk async for chunk in self._engine.generate(body)]

    async def _read(self, start: Callable[[dict[str, Any]], RunningGeneration], body: dict[str, Any]) -> Answered:
        choices: dict[int, Said] = {}
        parts: list[tuple[int, str]] = []
        charged = 0
        usage: dict[str, Any] = {}
        async for chunk in start(body):
            usage = chunk["usage"]
            added, charged = usage["completion_tokens"] - charged, usage["completion_tokens"]
            text = ""
            for part in chunk["choices"]:
                said = choices.setdefault(part["index"], Said())
                text += part["delta"].get("content") or ""
                said.text += part["delta"].get("content") or ""
                said.entries += (part.get("logprobs") or {}).get("content") or []
                said.finish = part.get("finish_reason") or said.finish
            parts.append((added, text))
        return Answered(choices, usage, parts)
