"""A TCP proxy between two processes that does what networks do: cuts, stalls, delays and refuses."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
TO_SERVER = "to_server"
TO_CLIENT = "to_client"
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_READ_BYTES_MAX = 65_536


class FaultProxy:
    """Passes bytes on from its own port to a server, as long as nothing is set against it.

    `delay_seconds` holds each piece up, `refusing` resets new connections, `stalled` names the directions in which
    nothing moves. A connection whose answers are stalled and then cut has had its last request served all the same.
    """

    def __init__(self, open_server: Callable[[], Awaitable[Streams]]) -> None:
        self._open_server = open_server
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_seconds = 0.0
        self.refusing = False
        self.stalled: frozenset[str] = frozenset()
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and reset every connection."""
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """Reset every connection that is open; returns how many there were."""
        cut = len(self._writers) // 2
        for writer in list(self._writers):
            _reset(writer)
        return cut

    def stall(self, *directions: str) -> None:
        """Let nothing pass in these directions until `heal`."""
        self.stalled = frozenset(directions)
        self._flowing.clear()

    def heal(self) -> None:
        """Let everything pass again, at once; the held pieces go on where they stopped."""
        self.delay_seconds = 0.0
        self.refusing = False
        self.stalled = frozenset()
        self._flowing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.refusing:
                _reset(writer)
                return
            await self._join(reader, writer)
        except OSError:
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._open_server()
        both = {writer, server_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, TO_SERVER), self._pump(server_reader, writer, TO_CLIENT)
            )
        except OSError:
            for each in both:
                _reset(each)
        finally:
            self._writers -= both
            for each in both:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await reader.read(_READ_BYTES_MAX):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            while direction in self.stalled:
                await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end: the other side loses what it has not read."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
