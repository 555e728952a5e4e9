"""A real pool for the tests of this folder: apps/pool in a process and a home of its own."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from finpool.catalogue.schemas import Model
from finpool.catalogue.service import Catalogue, default_directory
from finpool.kernel.settings import Settings
from finpool.serving.service import Backends
from finpool.serving.sse import EventDecoder

READY_SECONDS_MAX = 240
STOP_SECONDS_MAX = 90
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Pool:
    process: psutil.Process
    settings: Settings
    token: str

    @property
    def engine_url(self) -> str:
        return f"{self.settings.serve_base_url}/engines/smollm2-135m-instruct"

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
        for _ in range(600):
            usage = await self.usage()
            if not usage["running"]:
                return usage
            await asyncio.sleep(0.05)
        raise AssertionError(f"the engine is still generating: {usage}")

    def listeners(self) -> list[tuple[str, int]]:
        """Return the addresses that any process of the pool listens on."""
        processes = [self.process, *self.process.children(recursive=True)]
        connections = [connection for process in processes for connection in process.net_connections("tcp")]
        return [tuple(found.laddr) for found in connections if found.status == psutil.CONN_LISTEN]


def free_port() -> int:
    """Return a base port whose offsets for Serve are free as well."""
    while True:
        base = 20_000 + secrets.randbelow(9_000)
        try:
            for offset in (10, 11):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base


@pytest.fixture(scope="module")
def catalogue() -> Path:
    """The declarations that the pool serves; a module with other models overrides it."""
    return default_directory()


@pytest.fixture(scope="module")
def pool(catalogue: Path) -> Iterator[Pool]:
    weights = os.environ.get("FINPOOL_TEST_WEIGHTS_DIR", str(REPOSITORY / ".cache" / "weights"))
    with tempfile.TemporaryDirectory(prefix="finpool-test-") as directory:
        home = Path(directory)
        (home / "secrets").mkdir(mode=0o700)
        for name in ("engine_token", "ray_token"):
            (home / "secrets" / name).write_text(secrets.token_hex(32))
        settings = Settings(home=home, port=free_port(), weights_dir=Path(weights), log_level="INFO")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FINPOOL_", "RAY_"))},
            "FINPOOL_HOME": str(home),
            "FINPOOL_PORT": str(settings.port),
            "FINPOOL_WEIGHTS_DIR": weights,
            "FINPOOL_CATALOGUE_DIR": str(catalogue),
        }
        log = home / "pool.log"
        with log.open("wb") as output:
            started = subprocess.Popen(
                [sys.executable, "-m", "finpool.apps.pool"], env=environment, stdout=output, stderr=output
            )
        try:
            await_ready(started, log)
            token = settings.secret("engine_token").decode()
            yield Pool(psutil.Process(started.pid), settings, token)
        finally:
            stop(started)


def await_ready(started: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while '"ready"' not in log.read_text():
        if started.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the pool did not become ready:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


def stop(started: "subprocess.Popen[bytes]") -> None:
    """Stop the pool as `finpool down` does, and insist that nothing of it is left."""
    if started.poll() is not None:
        return
    family = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGTERM)
    assert started.wait(STOP_SECONDS_MAX) == 0
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS_MAX)
    assert not left


@pytest.fixture
def model() -> Model:
    return Catalogue.load(default_directory()).get("smollm2-135m-instruct")


@pytest.fixture
async def backends(pool: Pool) -> AsyncIterator[Backends]:
    backends = Backends(pool.settings)
    await backends.start()
    yield backends
    await backends.close()
