"""An engine process that is killed: who notices, and for how long. Two models on one real pool."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from finpool.catalogue.schemas import Model
from finpool.catalogue.service import Catalogue, default_directory
from finpool.kernel.ids import RequestId
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import EngineStream
from finpool.serving.service import Backends

BACK_ATTEMPTS_MAX = 240
OUTPUT_TOKENS = 400
"""Long enough to be under way when the engine is killed, on any machine."""

BODY = {
    "messages": [{"role": "user", "content": "Tell me about Paris."}],
    "max_tokens": OUTPUT_TOKENS,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model under two names, each with an engine of its own."""
    directory = tmp_path_factory.mktemp("models")
    declaration = yaml.safe_load((default_directory() / "smollm2-135m-instruct.yaml").read_text())
    declaration["engine"]["threads"] = 1
    for model_id in ("killed", "untouched"):
        (directory / f"{model_id}.yaml").write_text(yaml.safe_dump({**declaration, "id": model_id}))
    return directory


async def begin(backends: Backends, model: Model) -> EngineStream:
    """Start a long answer, and return it once its first words are there."""
    stream = await backends.chat(model, BODY, RequestId(f"req_{model.id}"))
    await stream.begun()
    async for chunks in stream:
        if chunks.usage is not None and chunks.usage.output_tokens >= 3:
            return stream
    raise AssertionError("the answer ended before it was killed")


async def output_tokens(stream: EngineStream) -> int:
    """Read an answer to its end and return how long it was."""
    usage = None
    async for chunks in stream:
        usage = chunks.usage or usage
    assert usage is not None
    return usage.output_tokens


def engine_process(pool: Any, model_id: str) -> psutil.Process:
    """Return the process of a model's replica, which Ray names after its application."""
    found = [each for each in pool.process.children(recursive=True) if f"{model_id}:engine" in " ".join(each.cmdline())]
    assert len(found) == 1, [each.cmdline()[:1] for each in pool.process.children(recursive=True)]
    return found[0]


async def comes_back(backends: Backends, model: Model) -> bool:
    """Wait for an engine as long as a pool may take to start."""
    for _ in range(BACK_ATTEMPTS_MAX):
        if await backends.ready(model):
            return True
        await asyncio.sleep(1)
    return False


async def test_a_killed_engine_breaks_off_its_own_answers_only_and_comes_back(
    pool: Any, backends: Backends, catalogue: Path
) -> None:
    models = Catalogue.load(catalogue)
    killed, untouched = models.get("killed"), models.get("untouched")
    with closing(await begin(backends, killed)) as broken, closing(await begin(backends, untouched)) as whole:
        engine_process(pool, "killed").kill()
        with pytest.raises(EngineFailed):
            await output_tokens(broken)
        assert await output_tokens(whole) == OUTPUT_TOKENS
    assert await comes_back(backends, killed)
    (await begin(backends, killed)).close()
