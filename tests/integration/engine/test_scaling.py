"""Replicas that come and go: from none by a request, to two under load, and back without breaking an answer off."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import waiting
from pool_catalogue import LONG_TOKENS, QUEUES, REFUSES, SLOTS, WORKS
from pool_process import READY_SECONDS_MAX
from shared_pool import UPSCALE_SECONDS, Pool, PoolKeeper

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.process.readiness import engines_answer
from finpool.kernel.ids import RequestId
from finpool.serving.backend.service import Backends
from finpool.serving.counters import kept_counts
from finpool.serving.engine.replicas import LOOK_BACK_FACTOR
from finpool.serving.errors import ModelCold
from finpool.serving.schemas import Operation

QUESTION = [{"role": "user", "content": "Tell me about Paris."}]

READ: dict[str, Counter[str]] = {}
"""What all tests of this file read of each engine."""


@pytest.fixture(scope="module", autouse=True)
def counted_before(pool_keeper: PoolKeeper) -> dict[str, dict[str, int]]:
    """The counts of the engines before this file."""
    return kept_counts(pool_keeper.pool().settings.home)


async def until(what: str, holds: Callable[[], bool]) -> None:
    await waiting.until(holds, what, seconds_max=READY_SECONDS_MAX, pause_seconds=0.5)


async def answer_tokens(backends: Backends, model: Model, output_tokens: int = 4, *, expected_service: int = 0) -> int:
    """Read an answer to its end; returns its tokens."""
    body: dict[str, Any] = {"messages": QUESTION, "max_tokens": output_tokens, "ignore_eos": True}
    stream = await backends.ask(Operation.CHAT, model, body, RequestId("req_test"), expected_service=expected_service)
    usage = TokenUsage(0, 0, 0)
    try:
        await stream.begun()
        async for chunks in stream:
            if chunks.usage is not None:
                usage = chunks.usage
    finally:
        stream.close()
    read = READ.setdefault(f"{model.id}_1", Counter())
    read.update(requests=1, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    return usage.output_tokens


async def keep_asking(
    backends: Backends, model: Model, enough: asyncio.Event, *, expected_service: int = 0
) -> list[int]:
    """Ask for one long answer after the other; returns the tokens of each."""
    answers = []
    while not enough.is_set():
        answers.append(await answer_tokens(backends, model, LONG_TOKENS, expected_service=expected_service))
    return answers


async def test_requests_that_may_wait_wake_the_model_and_are_served(shared_pool: Pool, backends: Backends) -> None:
    await until("no replica", lambda: len(shared_pool.replicas(QUEUES)) == 0)
    asked = (answer_tokens(backends, shared_pool.models.get(QUEUES)) for _ in range(2 * SLOTS))
    assert await asyncio.gather(*asked) == [4] * (2 * SLOTS)


async def test_under_load_a_second_replica_comes_and_when_it_goes_no_answer_breaks_off(
    shared_pool: Pool, backends: Backends
) -> None:
    model = shared_pool.models.get(QUEUES)
    two, one = asyncio.Event(), asyncio.Event()
    # Two streams go on throughout, which is work for one replica: the one that goes has something to finish.
    streams = [asyncio.create_task(keep_asking(backends, model, one)) for _ in range(SLOTS)]
    load = [asyncio.create_task(keep_asking(backends, model, two)) for _ in range(2 * SLOTS)]
    await until("two replicas", lambda: len(shared_pool.replicas(QUEUES)) == 2)
    two.set()
    await until("one replica", lambda: len(shared_pool.replicas(QUEUES)) == 1)
    one.set()
    answers = await asyncio.gather(*streams, *load)
    assert {tokens for each in answers for tokens in each} == {LONG_TOKENS}


async def test_a_model_that_sleeps_is_as_ready_as_one_that_answers_and_probes_let_it_sleep(
    shared_pool: Pool, backends: Backends
) -> None:
    await until("no replica", lambda: len(shared_pool.replicas(REFUSES)) == 0)
    for _ in range(20):
        assert await backends.ready(shared_pool.models.get(REFUSES))
        with pytest.raises(ModelCold):
            await backends.figures(shared_pool.models.get(REFUSES), "/usage")
        await asyncio.sleep(0.1)
    await until("ready, as `finpool up` asks", lambda: engines_answer(shared_pool.settings))
    assert len(shared_pool.replicas(REFUSES)) == 0
    state = read_engines(shared_pool.settings.home)
    assert state is not None
    may_sleep = [model.engine_path for model in shared_pool.models.on_pool() if model.id != WORKS]
    assert f"/engines/{REFUSES}/1" in state.sleepers
    assert state.sleepers == sorted(may_sleep)


async def test_a_request_that_is_refused_wakes_the_model_and_it_falls_asleep_again(
    shared_pool: Pool, backends: Backends
) -> None:
    model = shared_pool.models.get(REFUSES)
    await until("no replica", lambda: len(shared_pool.replicas(REFUSES)) == 0)
    with pytest.raises(ModelCold) as cold:
        await answer_tokens(backends, model)
    assert cold.value.headers["retry-after"]

    async def answered() -> int:
        with contextlib.suppress(ModelCold):
            return await answer_tokens(backends, model)
        return 0

    seconds_max = READY_SECONDS_MAX
    assert await waiting.until(answered, "the model is awake", seconds_max=seconds_max, pause_seconds=0.2) == 4
    await until("no replica", lambda: len(shared_pool.replicas(REFUSES)) == 0)


async def test_few_requests_that_are_much_work_bring_a_second_replica_and_as_many_small_ones_do_not(
    shared_pool: Pool, backends: Backends
) -> None:
    model, seen = shared_pool.models.get(WORKS), []
    for expected_service in (4, 8 * LONG_TOKENS):
        enough = asyncio.Event()
        asked = [
            asyncio.create_task(keep_asking(backends, model, enough, expected_service=expected_service))
            for _ in range(SLOTS)
        ]
        if expected_service == 4:
            await asyncio.sleep((2 + LOOK_BACK_FACTOR) * UPSCALE_SECONDS)
        else:
            await until("two replicas", lambda: len(shared_pool.replicas(WORKS)) == 2)
        seen.append(len(shared_pool.replicas(WORKS)))
        enough.set()
        await asyncio.gather(*asked)
    assert seen == [1, 2]


async def test_what_replicas_counted_that_came_and_went_is_what_was_read(
    shared_pool: Pool, counted_before: dict[str, dict[str, int]]
) -> None:
    counted = kept_counts(shared_pool.settings.home)
    assert set(READ) == {f"{model_id}_1" for model_id in (QUEUES, REFUSES, WORKS)}
    for key, read in READ.items():
        before = counted_before.get(key, {})
        assert {name: counted[key][name] - before.get(name, 0) for name in read} == read
