"""An engine process that is killed: its answers break off and cost nothing, other models go on, and it comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pool_process import READY_SECONDS_MAX, running_pool
from waiting import until

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import Operation

KILLED, OTHER = "killed", "other"
QUESTION = [{"role": "user", "content": "Tell me about Paris."}]
STREAMS = 3


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on the same weights, each with an engine of its own."""
    directory = tmp_path_factory.mktemp("catalogue")
    declared = yaml.safe_load((default_directory() / "smollm2-135m-instruct.yaml").read_text())
    for name in (KILLED, OTHER):
        engine = {"name": "llamacpp", "slots": 4, "threads": 1}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({**declared, "id": name, "engine": engine}))
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


def replica_of(pool: psutil.Process, model_id: str) -> psutil.Process:
    """Return the process of a model's engine; Ray names it after its application."""
    names = {each: each.cmdline() for each in pool.children(recursive=True) if each.is_running()}
    (found,) = [each for each, command in names.items() if f"ServeReplica:{model_id}_1:" in " ".join(command)]
    return found


async def read_on(backends: Backends, model: Model, begun: asyncio.Event, output_tokens: int = 1000) -> int:
    """Read an answer to its end; returns its tokens."""
    body: dict[str, Any] = {"messages": QUESTION, "max_tokens": output_tokens, "ignore_eos": True}
    stream = await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))
    tokens = 0
    try:
        await stream.begun()
        async for chunks in stream:
            if chunks.usage is not None:
                tokens = chunks.usage.output_tokens
                if tokens:
                    begun.set()
    finally:
        stream.close()
    return tokens


async def test_a_killed_engine_breaks_off_its_own_answers_only_and_comes_back(
    pool: tuple[psutil.Process, Settings], backends: Backends, catalogue: Path
) -> None:
    models = Catalogue.load(catalogue)
    killed, other = models.get(KILLED), models.get(OTHER)
    begun = [asyncio.Event() for _ in range(STREAMS + 1)]
    broken = [asyncio.create_task(read_on(backends, killed, each)) for each in begun[:STREAMS]]
    untouched = asyncio.create_task(read_on(backends, other, begun[STREAMS], 200))
    await asyncio.gather(*(each.wait() for each in begun))

    os.kill(replica_of(pool[0], KILLED).pid, signal.SIGKILL)
    for task in broken:
        with pytest.raises(EngineFailed):
            await task
    assert await untouched == 200
    assert await read_on(backends, other, asyncio.Event(), 4) == 4

    await until(lambda: backends.ready(killed), "the engine is back", seconds_max=READY_SECONDS_MAX, pause_seconds=0.2)
    assert await read_on(backends, killed, asyncio.Event(), 4) == 4
