"""The life of a client's connection: idle and used again, on every address, and without chunks for HTTP/1.0."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import served_app
import uvicorn

from finpool.apps.http_limits import LimitedHttp, http_protocol
from finpool.apps.listening import listening_sockets
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings

PARTS = (b"data: 1\n\n", b"", b"data: 2\n\n", b"data: [DONE]\n\n")
REQUEST = b"GET / HTTP/1.1\r\nhost: door\r\n\r\n"


async def stream(scope: Any, receive: Any, send: Any) -> None:
    """Answer with a stream, or with a length for `/whole`."""
    whole = scope["path"] == "/whole"
    headers = [(b"Content-Length", b"%d" % len(b"".join(PARTS)))] if whole else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in PARTS:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(
    port: int, *, sockets: list[socket.socket] | None = None, **values: Any
) -> AsyncIterator[list[LimitedHttp]]:
    """Serve the stream; yields the connections in their order."""
    settings = Settings(**values)
    connections: list[LimitedHttp] = []

    class NotedHttp(http_protocol(settings)):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            connections.append(self)
            super().connection_made(transport)

    config = uvicorn.Config(
        stream,
        host=settings.host,
        port=port,
        http=NotedHttp,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
    )
    async with served_app.served(config, sockets):
        yield connections


async def all_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.read()


async def answer_to(port: int, request: bytes, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    try:
        return await all_of(reader)
    finally:
        writer.close()


@pytest.mark.parametrize("more", [b"", b"connection: keep-alive\r\n"])
@pytest.mark.parametrize("path", [b"/", b"/whole"])
async def test_an_answer_to_http_1_0_comes_without_chunks_and_ends_with_the_connection(
    free_port: int, path: bytes, more: bytes
) -> None:
    async with served(free_port):
        head, _, body = (await answer_to(free_port, b"GET " + path + b" HTTP/1.0\r\n" + more + b"\r\n")).partition(
            b"\r\n\r\n"
        )
    assert body == b"".join(PARTS)
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head


async def test_an_answer_to_http_1_1_still_comes_in_chunks(free_port: int) -> None:
    async with served(free_port):
        closing = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert (await answer_to(free_port, closing)).endswith(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def answered(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(20):
        await reader.readuntil(b"0\r\n\r\n")


async def idle_connection(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection whose first request is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await answered(reader)
    return reader, writer


async def test_an_idle_connection_is_kept_for_75_seconds_and_serves_again(free_port: int) -> None:
    async with served(free_port) as connections:
        reader, writer = await idle_connection(free_port)
        (connection,) = connections
        idle = connection.timeout_keep_alive_task
        assert idle is not None
        assert 70 < idle.when() - asyncio.get_running_loop().time() <= 75
        writer.write(REQUEST)
        await answered(reader)
        assert idle.cancelled()
        writer.close()


async def test_the_idle_close_loses_no_request_that_waits_in_the_socket(free_port: int) -> None:
    async with served(free_port) as connections:
        reader, writer = await idle_connection(free_port)
        (connection,) = connections
        writer.write(REQUEST)  # The kernel has it; the server reads it once this task waits.
        connection.timeout_keep_alive_handler()
        await answered(reader)
        connection.timeout_keep_alive_handler()
        assert await all_of(reader) == b""
        writer.close()


async def test_the_longest_idle_connection_makes_room_on_a_full_door(free_port: int) -> None:
    async with served(free_port, connections_max=2):
        first, second = await idle_connection(free_port), await idle_connection(free_port)
        third = await idle_connection(free_port)
        assert await all_of(first[0]) == b""
        second[1].write(REQUEST)
        await answered(second[0])
        for _, writer in (first, second, third):
            writer.close()


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))]
)
async def test_a_door_on_every_address_answers_ipv4_and_ipv6(free_port: int, host: str) -> None:
    async with served(free_port, host="::", sockets=listening_sockets("::", free_port)):
        assert (await answer_to(free_port, b"GET /whole HTTP/1.0\r\n\r\n", host)).endswith(PARTS[-1])


async def test_a_machine_without_ipv6_listens_on_every_ipv4_address(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "AF_INET6", 12_345)
        sockets = listening_sockets("::", free_port)
    async with served(free_port, host="::", sockets=sockets):
        assert (await answer_to(free_port, b"GET /whole HTTP/1.0\r\n\r\n")).endswith(PARTS[-1])


def test_a_port_that_is_taken_is_named(free_port: int) -> None:
    assert listening_sockets("127.0.0.1", free_port) is None
    taken = pytest.raises(ConfigurationError, match=f"port {free_port}: Address already in use")
    with socket.create_server(("0.0.0.0", free_port)), taken:
        listening_sockets("::", free_port)
