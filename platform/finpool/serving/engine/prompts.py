"""Text completions in an engine: the prompts of a request are completed one after the other.

So a request takes the slots of one prompt, as the fair queue counts, and a client that leaves stops the next prompts.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.counters import Counters
from finpool.serving.engine.usage_object import usage_object, usage_with
from finpool.serving.errors import EngineRefused
from finpool.serving.protocols import RunningGeneration

PROMPT_FIELD = "prompt"

Start = Callable[[], RunningGeneration]
"""Starts the completion of one prompt; raises `EngineRefused`."""


class PromptRuns(AsyncIterator[dict[str, Any]]):
    """The chunks of all prompts, as those of one generation. Every run must be aborted or read to its end.

    The index of a choice counts over all prompts. The usage of a chunk is the sum over all prompts so far. The run
    counts as running between two prompts too, so that no engine ends there.
    """

    def __init__(self, starts: Sequence[Start], choices: int, counters: Counters) -> None:
        """Take the start of each prompt and the number of its `choices`; start the first prompt."""
        self._starts = starts
        self._choices = choices
        self._counters = counters
        self._prompt = 0
        self._usage_of_ended = self._usage = TokenUsage(0, 0, 0)
        self._left = False
        self._run = starts[0]()
        counters.running += 1

    def abort(self) -> None:
        """Stop the running prompt, and start no further one."""
        if not self._left:
            self._run.abort()
            self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next chunk; raise `EngineRefused` or `EngineFailed`."""
        while not self._left:
            try:
                return self._shown(await anext(self._run))
            except StopAsyncIteration:
                self._start_next()
            except Exception:
                self._leave()
                raise
        raise StopAsyncIteration

    def _start_next(self) -> None:
        """Start the next prompt, or end the run after the last one."""
        self._prompt += 1
        self._usage_of_ended = self._usage
        if self._prompt == len(self._starts):
            self._leave()
        else:
            self._run = self._starts[self._prompt]()

    def _shown(self, chunk: dict[str, Any]) -> dict[str, Any]:
        first = self._prompt * self._choices
        self._usage = usage_with(self._usage_of_ended, chunk["usage"])
        choices = [{**choice, "index": first + choice["index"]} for choice in chunk["choices"]]
        return {**chunk, "choices": choices, "usage": usage_object(self._usage)}

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._counters.running -= 1


def prompts_of(body: Mapping[str, Any]) -> list[str]:
    """Return the prompts of a request; raise `EngineRefused` unless they are texts that are not empty."""
    prompts = body.get(PROMPT_FIELD)
    if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) and text for text in prompts):
        raise EngineRefused("Only prompts that are not empty are taken.", param=PROMPT_FIELD)
    return prompts
