"""A door in this process whose requests for `/held` are answered once a test lets them go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from served_app import served
from waiting import until

from finpool.apps.http_limits import http_protocol
from finpool.kernel.settings import Settings

PART = bytes(1_048_576)
PARTS = 16
SECONDS_MAX = 20


class HeldDoor:
    """A served door with `settings`; its requests for `/held` wait for `release`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.held = 0
        self.release = asyncio.Event()
        self._open: list[asyncio.StreamWriter] = []

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the path, `/held` after the release; `/large` with many bytes and `/parts` one by one."""
        body = scope["path"].encode()
        if scope["path"] == "/held":
            self.held += 1
            await self.release.wait()
        elif scope["path"] in ("/large", "/parts"):
            body = PART * PARTS
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        if scope["path"] == "/parts":
            for _ in range(PARTS - 1):
                await send({"type": "http.response.body", "body": PART, "more_body": True})
            body = PART
        await send({"type": "http.response.body", "body": body})

    async def connect(self, host: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection from an address of this machine."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))
        self._open.append(writer)
        return reader, writer

    async def close(self) -> None:
        """Close every connection of the clients, and let all requests go."""
        self.release.set()
        for writer in self._open:
            writer.close()
        for writer in self._open:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def half_open(self, host: str = "127.0.0.1") -> asyncio.StreamReader:
        """Open a connection and send a part of a head."""
        reader, writer = await self.connect(host)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        await writer.drain()
        return reader

    async def ask(self, path: str, host: str = "127.0.0.1", *headers: str) -> bytes:
        """Send one request and return its whole answer; nothing if the door closes without one."""
        lines = (f"GET {path} HTTP/1.1", "host: door", "connection: close", *headers)
        try:
            reader, writer = await self.connect(host)
            writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    return await reader.read()
            finally:
                writer.close()
        except ConnectionError:
            return b""

    @asynccontextmanager
    async def holding(self, count: int, host: str, *headers: str) -> AsyncIterator[None]:
        """Have requests under way while the block runs; each is answered at its end."""
        before = self.held
        asked = [asyncio.create_task(self.ask("/held", host, *headers)) for _ in range(count)]
        await until(lambda: self.held == before + count, "the requests did not arrive")
        try:
            yield
        finally:
            self.release.set()
            for answer in await asyncio.gather(*asked):
                assert status_of(answer) == 200
            self.release.clear()


def status_of(answer: bytes) -> int | None:
    """Return the status of an answer, or None without one."""
    return int(answer.split(b" ", 2)[1]) if answer else None


async def closed(reader: asyncio.StreamReader) -> None:
    """Wait until the door has closed the connection."""
    async with asyncio.timeout(SECONDS_MAX):
        with contextlib.suppress(ConnectionError):
            await reader.read()


@asynccontextmanager
async def held_door(port: int, **values: Any) -> AsyncIterator[HeldDoor]:
    """Serve a door with these settings."""
    settings = Settings(**values)
    door = HeldDoor(port)
    config = uvicorn.Config(
        door.answer,
        host="127.0.0.1",
        port=port,
        http=http_protocol(settings),
        interface="asgi3",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
    )
    async with served(config):
        try:
            yield door
        finally:
            await door.close()
