"""A server that behaves and misbehaves on command, and the gateway's way to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from scripted_engine import ENGINE_TOKEN, FakeEngine

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends


@pytest.fixture
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def backends(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Backends]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (tmp_path / "engine_token").write_text(ENGINE_TOKEN)
    host, port = runner.addresses[0][:2]
    backends = Backends(
        Settings(
            serve_url=f"http://{host}:{port}/",
            secrets_dir=tmp_path,
            engine_start_timeout_seconds=0.3,
            engine_read_timeout_seconds=0.3,
        )
    )
    await backends.start()
    yield backends
    await backends.close()
    await runner.cleanup()
