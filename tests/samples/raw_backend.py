"""A backend that writes any bytes that a test gives it, and the product's connections to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from finpool.serving.transport.connections import Connections

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def backend(answer: Answer, path: str = "") -> AsyncIterator[tuple[Connections, list[bytes], list[int]]]:
    """Serve `answer` for each request; yield connections to it, the requests' heads, and on which connection each."""
    heads, numbers, opened = [], [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        number = len(opened)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                numbers.append(number)
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                await reader.readexactly(length)
                await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connections = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}", "token")
    try:
        yield connections, heads, numbers
    finally:
        connections.close()
        server.close()
        for writer in opened:
            writer.close()
        await asyncio.sleep(0)


def sends(*parts: bytes, closes: bool = False) -> Answer:
    """Answer each request with these bytes, and close the connection after them if it is to."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if closes:
            writer.close()

    return answer
