"""A real pool for the tests of this folder: apps/pool in a process and a home of its own."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil
import pytest
from pool_process import running_pool
from waiting import until

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.transport.sse import EventDecoder


@dataclass(frozen=True)
class Pool:
    process: psutil.Process
    settings: Settings
    token: str

    @property
    def engine_url(self) -> str:
        return f"{self.settings.serve_base_url}/engines/smollm2-135m-instruct/1"

    async def usage(self) -> dict[str, int]:
        """Return what the engine has counted itself."""
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"{self.engine_url}/usage"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            usage: dict[str, int] = await answer.json()
            return usage

    async def chunks(self, **fields: Any) -> list[dict[str, Any]]:
        """Return every chunk of an answer, each for itself as the engine sent it."""
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"{self.engine_url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, headers=headers, json=fields) as answer:
            *events, end = EventDecoder().feed(await answer.read())
        assert end == b"[DONE]"
        return [json.loads(event) for event in events]

    async def settled_usage(self) -> dict[str, int]:
        """Return the engine's counts once it has left every generation: then they cannot move any more."""

        async def idle() -> dict[str, int] | None:
            usage = await self.usage()
            return None if usage["running"] else usage

        return await until(idle, "the engine generates nothing more", pause_seconds=0.05)

    def listeners(self) -> list[tuple[str, int]]:
        """Return the addresses that any process of the pool listens on."""
        processes = [self.process, *self.process.children(recursive=True)]
        connections = [connection for process in processes for connection in process.net_connections("tcp")]
        return [tuple(found.laddr) for found in connections if found.status == psutil.CONN_LISTEN]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """The default catalogue on the pool, once for all files that do not change it."""
    with running_pool() as (process, settings):
        yield Pool(process, settings, settings.secret("engine_token").decode())


@pytest.fixture
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


@pytest.fixture
async def backends(pool: Pool) -> AsyncIterator[Backends]:
    backends = Backends(pool.settings)
    await backends.start()
    yield backends
    await backends.close()
