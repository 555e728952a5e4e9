"""The real pool, once for all files of a process that ask it; it ends before the next test that does not.

Its versions have passed their tests before, as those of a pool that is started again, so its models begin asleep. A
test wakes what it asks.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from database_server import DatabaseServer
from pool_catalogue import REAL, VERSION, write_pool_catalogue
from pool_process import READY_SECONDS_MAX, running_pool
from waiting import until

from finpool.catalogue.model.service import Catalogue
from finpool.kernel.settings import Settings
from finpool.serving.transport.sse import EventDecoder

UPSCALE_SECONDS = 2.0
DATABASE = "pool"
KEEPER = "pool_keeper"


@dataclass(frozen=True)
class Pool:
    process: psutil.Process
    settings: Settings
    models: Catalogue
    awake: set[str] = field(default_factory=set)

    @property
    def token(self) -> str:
        return self.settings.secret("engine_token").decode()

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def engine_url(self, model_id: str = REAL) -> str:
        return f"{self.settings.serve_base_url}{self.models.get(model_id).engine_path}"

    async def wake(self, *model_ids: str) -> None:
        """Start the engines that sleep, all at the same time, and wait until each of them computes.

        They stay awake for longer than the tests last, so each is woken once.
        """
        timeout = aiohttp.ClientTimeout(READY_SECONDS_MAX)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout) as session:

            async def is_awake(model_id: str) -> bool:
                async with session.get(f"{self.engine_url(model_id)}/health") as answer:
                    return answer.status == 200

            woken = (
                until(partial(is_awake, each), f"{each} is awake", pause_seconds=0.2)
                for each in model_ids
                if each not in self.awake
            )
            await asyncio.gather(*woken)
        self.awake.update(model_ids)

    async def usage(self, model_id: str = REAL) -> dict[str, int]:
        """Return the counts of the engine itself."""
        url = f"{self.engine_url(model_id)}/usage"
        async with aiohttp.ClientSession(headers=self.headers) as session, session.get(url) as answer:
            usage: dict[str, int] = await answer.json()
            return usage

    async def chunks(self, **fields: Any) -> list[dict[str, Any]]:
        """Return every chunk of an answer, each for itself as the engine sent it."""
        url = f"{self.engine_url()}/v1/chat/completions"
        async with aiohttp.ClientSession(headers=self.headers) as session, session.post(url, json=fields) as answer:
            *events, end = EventDecoder().feed(await answer.read())
        assert end == b"[DONE]"
        return [json.loads(event) for event in events]

    async def settled_usage(self, model_id: str = REAL) -> dict[str, int]:
        """Return the engine's counts once it has left every request: then they cannot move any more."""

        async def idle() -> dict[str, int] | None:
            usage = await self.usage(model_id)
            return None if usage["running"] else usage

        return await until(idle, f"{model_id} computes nothing more", pause_seconds=0.05)

    def listeners(self) -> list[tuple[str, int]]:
        """Return the addresses that any process of the pool listens on."""
        processes = [self.process, *self.process.children(recursive=True)]
        connections = [connection for process in processes for connection in process.net_connections("tcp")]
        return [tuple(found.laddr) for found in connections if found.status == psutil.CONN_LISTEN]

    def replicas(self, model_id: str) -> list[psutil.Process]:
        """Return the processes of a model's engine, which Ray names after their application."""
        found = []
        for process in self.process.children(recursive=True):
            try:
                if f"ServeReplica:{model_id}_{VERSION}:" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue  # It ended while we looked.
        return found


class PoolKeeper:
    """Starts the pool for the first test that needs it, and again if it was stopped in between."""

    def __init__(self, server: DatabaseServer, catalogue: Path) -> None:
        self._server = server
        self._catalogue = catalogue
        self._urls: dict[str, str] | None = None
        self._running = ExitStack()
        self._pool: Pool | None = None

    def pool(self) -> Pool:
        """Return the running pool."""
        if self._pool is None:
            self._urls = self._urls or self._server.new_database(DATABASE)
            started = running_pool(
                self._catalogue, urls=self._urls, tested=True, FINPOOL_ENGINE_UPSCALE_SECONDS=str(UPSCALE_SECONDS)
            )
            self._pool = Pool(*self._running.enter_context(started), Catalogue.load(self._catalogue))
        return self._pool

    def stop(self) -> None:
        """Stop the pool if it runs, and insist that nothing of it is left."""
        self._pool = None
        self._running.close()


@pytest.fixture(scope="session")
def pool_keeper(
    database_server: DatabaseServer, shallow_weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PoolKeeper]:
    keeper = PoolKeeper(
        database_server, write_pool_catalogue(tmp_path_factory.mktemp("pool") / "models", shallow_weights)
    )
    yield keeper
    keeper.stop()


@pytest.fixture
def shared_pool(pool_keeper: PoolKeeper) -> Pool:
    return pool_keeper.pool()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the pool once the next test does without it: an idle one takes a fifth of a core from the others."""
    keeper = getattr(item, "funcargs", {}).get(KEEPER)
    if keeper is not None and nextitem is not None and KEEPER not in getattr(nextitem, "fixturenames", ()):
        keeper.stop()
