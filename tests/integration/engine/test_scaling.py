"""Replicas that come and go: from none by a request, to two under load, and back without breaking an answer off."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import waiting
import yaml
from pool_process import READY_SECONDS_MAX, running_pool

from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.process.readiness import engines_answer
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.counters import kept_counts
from finpool.serving.engine.replicas import LOOK_BACK_FACTOR
from finpool.serving.errors import ModelCold
from finpool.serving.schemas import Operation

REFUSES, QUEUES, WORKS = "refuses", "queues", "works"
QUESTION = [{"role": "user", "content": "Tell me about Paris."}]
SLOTS = 2
LONG_TOKENS = 380
SHORT = {"context_tokens": 512, "output_tokens_default": 16, "output_tokens_max": 400, "golden_prompts": []}
"""A short acceptance test of a version, which is no subject here."""

READ: dict[str, Counter[str]] = {}
"""What all tests of this file read of each engine."""


@pytest.fixture(scope="module")
def catalogue(shallow_weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on the same shallow weights: two may sleep, one for each policy; two may have two replicas."""
    directory = tmp_path_factory.mktemp("catalogue")
    declared = yaml.safe_load((default_directory() / "smollm2-135m-instruct.yaml").read_text())
    declared |= {**SHORT, "weights": shallow_weights}
    for name, policy, replicas_max in ((REFUSES, "refuse", 1), (QUEUES, "queue", 2)):
        engine = {
            "name": "llamacpp",
            "slots": SLOTS,
            "threads": 1,
            "idle_seconds": 10,
            "replicas_min": 0,
            "replicas_max": replicas_max,
            "cold_start": policy,
        }
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({**declared, "id": name, "engine": engine}))
    works = {
        "name": "llamacpp",
        "slots": SLOTS,
        "threads": 1,
        "idle_seconds": 10,
        "replicas_max": 2,
        "service_ahead_max": 4 * LONG_TOKENS,
    }
    (directory / f"{WORKS}.yaml").write_text(yaml.safe_dump({**declared, "id": WORKS, "engine": works}))
    return directory


@pytest.fixture(scope="module")
def pool(catalogue: Path) -> Iterator[tuple[psutil.Process, Settings]]:
    with running_pool(catalogue) as running:
        yield running


@pytest.fixture
async def backends(pool: tuple[psutil.Process, Settings]) -> AsyncIterator[Backends]:
    backends = Backends(pool[1])
    await backends.start()
    yield backends
    await backends.close()


@pytest.fixture(scope="module")
def models(catalogue: Path) -> Catalogue:
    return Catalogue.load(catalogue)


@pytest.fixture
def replicas(pool: tuple[psutil.Process, Settings]) -> Callable[[str], int]:
    """Return a count of a model's replicas by their processes, which Ray names after their application."""

    def count(model_id: str) -> int:
        commands = []
        for process in pool[0].children(recursive=True):
            try:
                commands.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue  # It ended while we looked.
        return sum(f"ServeReplica:{model_id}_1:" in command for command in commands)

    return count


async def until(what: str, holds: Callable[[], bool]) -> None:
    await waiting.until(holds, what, seconds_max=READY_SECONDS_MAX, pause_seconds=0.2)


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


async def test_under_load_a_second_replica_comes_and_when_it_goes_no_answer_breaks_off(
    backends: Backends, models: Catalogue, replicas: Callable[[str], int]
) -> None:
    model = models.get(QUEUES)
    two, one = asyncio.Event(), asyncio.Event()
    # Two streams go on throughout, which is work for one replica: the one that goes has something to finish.
    streams = [asyncio.create_task(keep_asking(backends, model, one)) for _ in range(SLOTS)]
    load = [asyncio.create_task(keep_asking(backends, model, two)) for _ in range(3 * SLOTS)]
    await until("two replicas", lambda: replicas(QUEUES) == 2)
    two.set()
    await until("one replica", lambda: replicas(QUEUES) == 1)
    one.set()
    answers = await asyncio.gather(*streams, *load)
    assert {tokens for each in answers for tokens in each} == {LONG_TOKENS}


async def test_a_model_that_sleeps_is_as_ready_as_one_that_answers_and_probes_let_it_sleep(
    pool: tuple[psutil.Process, Settings], backends: Backends, models: Catalogue, replicas: Callable[[str], int]
) -> None:
    await until("no replica", lambda: replicas(REFUSES) == 0)
    for _ in range(20):
        assert await backends.ready(models.get(REFUSES))
        with pytest.raises(ModelCold):
            await backends.figures(models.get(REFUSES), "/usage")
        await asyncio.sleep(0.1)
    await until("ready, as `finpool up` asks", lambda: engines_answer(pool[1]))
    assert replicas(REFUSES) == 0
    state = read_engines(pool[1].home)
    assert state is not None
    assert state.sleepers == [f"/engines/{QUEUES}/1", f"/engines/{REFUSES}/1"]


async def test_a_request_that_is_refused_wakes_the_model_and_it_falls_asleep_again(
    backends: Backends, models: Catalogue, replicas: Callable[[str], int]
) -> None:
    model = models.get(REFUSES)
    await until("no replica", lambda: replicas(REFUSES) == 0)
    with pytest.raises(ModelCold) as cold:
        await answer_tokens(backends, model)
    assert cold.value.headers["retry-after"]

    async def answered() -> int:
        with contextlib.suppress(ModelCold):
            return await answer_tokens(backends, model)
        return 0

    seconds_max = READY_SECONDS_MAX
    assert await waiting.until(answered, "the model is awake", seconds_max=seconds_max, pause_seconds=0.2) == 4
    await until("no replica", lambda: replicas(REFUSES) == 0)


async def test_requests_that_may_wait_wake_the_model_and_are_served(
    backends: Backends, models: Catalogue, replicas: Callable[[str], int]
) -> None:
    await until("no replica", lambda: replicas(QUEUES) == 0)
    asked = (answer_tokens(backends, models.get(QUEUES)) for _ in range(2 * SLOTS))
    assert await asyncio.gather(*asked) == [4] * (2 * SLOTS)


async def test_few_requests_that_are_much_work_bring_a_second_replica_and_as_many_small_ones_do_not(
    backends: Backends, models: Catalogue, replicas: Callable[[str], int]
) -> None:
    model, seen = models.get(WORKS), []
    for expected_service in (4, 8 * LONG_TOKENS):
        enough = asyncio.Event()
        asked = [
            asyncio.create_task(keep_asking(backends, model, enough, expected_service=expected_service))
            for _ in range(SLOTS)
        ]
        if expected_service == 4:
            await asyncio.sleep((1 + LOOK_BACK_FACTOR) * Settings().engine_upscale_seconds)
        else:
            await until("two replicas", lambda: replicas(WORKS) == 2)
        seen.append(replicas(WORKS))
        enough.set()
        await asyncio.gather(*asked)
    assert seen == [1, 2]


async def test_what_replicas_counted_that_came_and_went_is_what_was_read(pool: tuple[psutil.Process, Settings]) -> None:
    counted = kept_counts(pool[1].home)
    assert {key: {name: counted[key][name] for name in read} for key, read in READ.items()} == READ
    assert set(READ) == {f"{model_id}_1" for model_id in (QUEUES, REFUSES, WORKS)}
