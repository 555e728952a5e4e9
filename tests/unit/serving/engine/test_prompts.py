"""Text completions in an engine: one prompt after the other, as one answer with one running usage."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Self

import pytest

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.counters import Counters
from finpool.serving.engine.prompts import PromptRuns, prompts_of
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import EngineFailed, EngineRefused


class Generation(AsyncIterator[dict[str, Any]]):
    """The completion of one prompt: a chunk for each choice, 3 tokens of input, and the exact usage last."""

    def __init__(self, choices: int, failure: Exception | None = None) -> None:
        usages = [TokenUsage(3, 1, number) for number in range(1, choices + 1)]
        self.chunks = [{"choices": [{"index": i}], "usage": usage_object(each)} for i, each in enumerate(usages)]
        self.chunks.append({"choices": [], "usage": usage_object(TokenUsage(3, 1, choices + 1))})
        self.failure = failure
        self.aborted = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)

    def abort(self) -> None:
        self.aborted += 1


def runs_of(generations: list[Generation], choices: int, counters: Counters) -> tuple[PromptRuns, list[Generation]]:
    """Return the run, and the list of generations that it has started."""
    started: list[Generation] = []

    def start(generation: Generation) -> Generation:
        started.append(generation)
        return generation

    return PromptRuns([partial(start, each) for each in generations], choices, counters), started


async def test_indexes_and_usage_go_over_all_prompts() -> None:
    counters = Counters()
    runs, started = runs_of([Generation(2), Generation(2)], 2, counters)
    chunks = []
    async for chunk in runs:
        assert counters.running == 1
        chunks.append(chunk)
    assert [choice["index"] for chunk in chunks for choice in chunk["choices"]] == [0, 1, 2, 3]
    usage = [(each["usage"]["prompt_tokens"], each["usage"]["completion_tokens"]) for each in chunks]
    assert usage == [(3, 1), (3, 2), (3, 3), (6, 4), (6, 5), (6, 6)]
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert (len(started), counters.running) == (2, 0)
    runs.abort()
    assert [each.aborted for each in started] == [0, 0]


async def test_the_next_prompt_begins_only_after_the_one_before_it() -> None:
    runs, started = runs_of([Generation(1), Generation(1)], 1, Counters())
    assert len(started) == 1
    await anext(runs)
    await anext(runs)
    assert len(started) == 1
    await anext(runs)
    assert len(started) == 2


async def test_a_client_that_leaves_stops_the_running_prompt_and_all_later_ones() -> None:
    counters = Counters()
    runs, started = runs_of([Generation(1), Generation(1)], 1, counters)
    await anext(runs)
    runs.abort()
    runs.abort()
    assert ([each.aborted for each in started], counters.running) == ([1], 0)
    with pytest.raises(StopAsyncIteration):
        await anext(runs)


@pytest.mark.parametrize("failure", [EngineRefused("too long"), EngineFailed("broken")])
async def test_a_failure_of_one_prompt_ends_the_answer(failure: Exception) -> None:
    counters = Counters()
    runs, started = runs_of([Generation(1), Generation(1, failure), Generation(1)], 1, counters)
    assert len([await anext(runs), await anext(runs)]) == 2
    with pytest.raises(type(failure)):
        await anext(runs)
    assert (len(started), counters.running) == (2, 0)


@pytest.mark.parametrize("prompt", [None, "text", [], [""], [1], [["a"]]])
def test_an_engine_takes_texts_only(prompt: Any) -> None:
    with pytest.raises(EngineRefused) as refused:
        prompts_of({"prompt": prompt})
    assert refused.value.param == "prompt"
