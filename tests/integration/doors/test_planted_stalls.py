"""The detector of stalls names each planted stall of a running door, and is quiet without one."""

import asyncio
import gc
import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from served_app import served
from sqlalchemy import text
from stalls import Stalls, stalls
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from finpool.kernel.database.database import Database

REQUESTS = 3
BLOCKED_SECONDS = 0.06
CYCLIC_OBJECTS_MAX = 60
"""The test's own client, and the server of the door, make a few cycles."""

NUMBERS = random.Random(1).sample(range(1_000_000), 200_000)
MEGABYTE = json.dumps([{"a": 1}] * 110_000)

Handler = Callable[[], Awaitable[object]]


class Node:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


class BlockingHandler(logging.Handler):
    """A log handler whose target takes its time."""

    def emit(self, record: logging.LogRecord) -> None:
        threading.Event().wait(BLOCKED_SECONDS)


def soon(act: Callable[[], object]) -> None:
    """Call a function in a thread, after a while."""
    timer = threading.Timer(BLOCKED_SECONDS, act)
    timer.daemon = True
    timer.start()


async def sleep_on_the_loop() -> None:
    block = time.sleep
    block(BLOCKED_SECONDS)


async def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    soon(lock.release)
    with lock:
        pass


async def make_a_cycle() -> None:
    for _ in range(100):
        Node()


async def write_a_file_of_a_slow_disk() -> None:
    read, write = os.pipe()
    soon(lambda: os.read(read, 1_000_000))
    os.write(write, bytes(100_000))  # More than the kernel takes at once.
    os.close(read)
    os.close(write)


async def match_in_exponential_time() -> None:
    re.match(r"(a+)+$", "a" * 20 + "b")


async def parse_a_megabyte_of_json() -> None:
    json.loads(MEGABYTE, object_pairs_hook=dict)


async def collect_over_many_objects() -> None:
    kept = [[each] for each in range(200_000)]
    for _ in range(3):
        gc.collect()
    assert kept


async def sort_a_big_list() -> None:
    sorted(NUMBERS)


async def ask_another_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.settimeout(BLOCKED_SECONDS)
        with pytest.raises(TimeoutError):
            client.recv(1)


async def write_a_log_line() -> None:
    log = logging.Logger("planted")
    log.addHandler(BlockingHandler())
    log.warning("a line")


PLANTED: dict[str, tuple[Handler, str]] = {
    each.__name__.replace("_", " "): (each, named)
    for each, named in (
        (sleep_on_the_loop, "(sleep_on_the_loop)"),
        (wait_for_a_lock, "(wait_for_a_lock)"),
        (make_a_cycle, "Node"),
        (write_a_file_of_a_slow_disk, "(write_a_file_of_a_slow_disk)"),
        (match_in_exponential_time, "(match_in_exponential_time)"),
        (parse_a_megabyte_of_json, "(parse_a_megabyte_of_json)"),
        (collect_over_many_objects, "collector of cycles"),
        (sort_a_big_list, "(sort_a_big_list)"),
        (ask_another_host, "(ask_another_host)"),
        (write_a_log_line, "(BlockingHandler.emit)"),
    )
}


@asynccontextmanager
async def door(handler: Handler) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Serve one route that does as `handler`; yields a function that asks for it."""

    async def answer(_: Request) -> PlainTextResponse:
        await handler()
        return PlainTextResponse("done")

    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    config = uvicorn.Config(Starlette(routes=[Route("/", answer)]), log_config=None, ws="none")
    async with served(config, [bound]), aiohttp.ClientSession() as session:

        async def ask() -> None:
            async with session.get(url) as response:
                assert await response.text() == "done"

        yield ask


async def watched(handler: Handler) -> Stalls:
    async with door(handler) as ask:
        await ask()  # The first request imports and connects.
        with stalls() as found:
            for _ in range(REQUESTS):
                await ask()
    return found


@pytest.mark.parametrize(("handler", "named"), PLANTED.values(), ids=PLANTED.keys())
async def test_a_planted_stall_is_named(handler: Handler, named: str) -> None:
    found = (await watched(handler)).found(cyclic_objects_max=CYCLIC_OBJECTS_MAX)
    assert any(named in each for each in found), found


async def test_a_connection_that_is_held_while_another_thread_computes_is_named(
    database: Callable[[str], Database],
) -> None:
    async def hold_a_connection() -> None:
        async with database("operator").across_tenants() as session:
            await session.execute(text("SELECT 1"))
            await asyncio.to_thread(threading.Event().wait, 0.15)

    found = (await watched(hold_a_connection)).found(cyclic_objects_max=1_000)
    assert any("held" in each and "hold_a_connection" in each for each in found), found


@pytest.fixture
def busy_processes() -> Iterator[None]:
    """Take every processor, so that others often wait for one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for each in busy:
        each.kill()
        each.wait()


@pytest.mark.usefixtures("busy_processes")
async def test_work_as_it_should_be_is_quiet_beside_busy_processes(database: Callable[[str], Database]) -> None:

    async def work() -> None:
        async with database("operator").across_tenants() as session:
            await session.execute(text("SELECT pg_sleep(0.15)"))
        await asyncio.to_thread(threading.Event().wait, BLOCKED_SECONDS)
        sorted(NUMBERS[:1_000])

    found = await watched(work)
    assert [str(each) for each in (*found.pauses, *found.holds)] == []
