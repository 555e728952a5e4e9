"""Embeddings and rankings with an `Idempotency-Key`, before an engine that does what a test says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from model_declarations import PRICE
from pooling_models import EMBEDDING, RERANK, pooling_declaration
from scripted_pooling import ScriptedPooling
from served_bank import ServedBank

from finpool.kernel.settings import Settings

ASKED: dict[str, dict[str, Any]] = {
    "v1/embeddings": {"model": EMBEDDING, "input": ["one", "two"]},
    "rerank": {"model": RERANK, "query": "q", "documents": ["a", "b"]},
    "v2/rerank": {"model": RERANK, "query": "q", "documents": ["a", "b"]},
}


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedPooling]:
    scripted = ScriptedPooling()
    app = web.Application()
    app.router.add_post("/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a door with a model for vectors and one for scores."""
    directory = tmp_path / "catalogue"
    directory.mkdir()
    price = {**PRICE, "cached_input_micros_per_million_tokens": 1_000_000}
    for model_id, kind in ((EMBEDDING, "embedding"), (RERANK, "rerank")):
        declared = pooling_declaration(model_id, kind, price=price)
        (directory / f"{model_id}.yaml").write_text(yaml.safe_dump(declared))
    return settings.model_copy(update={"catalogue_dir": directory})


async def test_embeddings_and_rankings_are_repeated_and_paid_once(bank: ServedBank) -> None:
    secret = await bank.add_tenant("bank-a")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {secret}"}) as session:

        async def ask(path: str, key: str) -> tuple[int, bytes, str | None]:
            headers = {"idempotency-key": key}
            async with session.post(f"{bank.url}/{path}", json=ASKED[path], headers=headers) as response:
                return response.status, await response.read(), response.headers.get("idempotent-replayed")

        for path in ASKED:
            status, body, replayed = await ask(path, path)
            assert (status, replayed) == (200, None)
            assert await ask(path, path) == (200, body, "true")
        assert (await ask("v2/rerank", "rerank"))[0] == 422  # The other route's answer has another shape.
    assert len(bank.engine.bodies) == len(await bank.usage("bank-a")) == len(ASKED)
