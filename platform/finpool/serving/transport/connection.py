"""One HTTP/1.1 connection to a backend, and one request with its answer on it (ADR 0017).

Sending does not wait. A caller may stop waiting for the answer and wait again later: a cancelled caller loses nothing
that the engine reports afterwards.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from finpool.serving.errors import ConnectionBroken
from finpool.serving.schemas import WEIGHTS_HEADER

BUFFERED_BYTES_MAX = 262_144
"""Reading from an engine pauses while more bytes of its answer than this wait for a slow client."""

HEAD_BYTES_MAX = 65_536
FINISH_SECONDS_MAX = 5.0
"""How long the end of a body may take to come once all of the answer is there."""

_WEIGHTS_HEADER = WEIGHTS_HEADER.encode()


class HttpCall:
    """One request that was sent, and its answer as it arrives. Only one task may wait for it."""

    __slots__ = (
        "_buffered_bytes",
        "_connection",
        "_error",
        "_parts",
        "_waiter",
        "content_type",
        "ended",
        "status",
        "weights_sha256",
    )

    def __init__(self, connection: "Connection") -> None:
        self._connection: Connection | None = connection
        self._parts: list[bytes] = []
        self._buffered_bytes = 0
        self._error: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status: int | None = None
        self.content_type = ""
        self.weights_sha256 = ""
        self.ended = False

    async def head(self, seconds_max: float) -> int:
        """Return the answer's status; raises `ConnectionBroken`, or `TimeoutError` if it does not come in time."""
        until = asyncio.get_running_loop().time() + seconds_max
        while self.status is None:
            await self._wait(until - asyncio.get_running_loop().time())
        return self.status

    async def read(self, seconds_max: float) -> bytes:
        """Return what has arrived of the body, at least a byte, or nothing at its end; raises as `head` does."""
        while not self._parts and not self.ended:
            await self._wait(seconds_max)
        return self.received()

    @property
    def more_is_here(self) -> bool:
        """Tell whether more of the body has arrived already."""
        return bool(self._parts)

    def received(self) -> bytes:
        """Return what has arrived of the body and was not read yet."""
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        if self._buffered_bytes > BUFFERED_BYTES_MAX and self._connection is not None:
            self._connection.resume()
        self._buffered_bytes = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Read no more, because the whole answer is here. The connection is kept if the end of the body comes soon."""
        if self._connection is not None:
            self._connection.finish_soon()

    def close(self) -> None:
        """Give the answer up: the connection is closed, which tells the engine to stop, unless all of it has come."""
        if self._connection is not None:
            self._connection.close()

    def put(self, part: bytes) -> None:
        """Take a part of the body from the connection."""
        self._parts.append(part)
        self._buffered_bytes += len(part)
        if self._buffered_bytes > BUFFERED_BYTES_MAX and self._connection is not None:
            self._connection.pause()

    def wake(self) -> None:
        """Wake the waiting task, so that it checks again what has arrived."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self, error: str | None) -> None:
        """Part from the connection: the answer is whole, or it never will be."""
        self._connection = None
        self.ended, self._error = error is None, error
        self.wake()

    async def _wait(self, seconds_max: float) -> None:
        if self._error is not None:
            raise ConnectionBroken(self._error)
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(seconds_max, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class Connection(asyncio.Protocol):
    """One connection, which carries one HTTP call at a time.

    `on_free(connection)` is called when it may be used again, `on_lost(connection)` at its end.
    """

    def __init__(self, on_free: "Callable[[Connection], None]", on_lost: "Callable[[Connection], None]") -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._call: HttpCall | None = None
        self._finishing: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._until_the_end = True
        self._whole = self._keep = False
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Tell whether a request may be sent."""
        return self._call is None and not self._transport.is_closing()

    def send(self, request: bytes) -> HttpCall:
        """Send a whole request; only a usable connection may be asked."""
        self._head_bytes, self._until_the_end, self._whole = 0, True, False
        call = self._call = HttpCall(self)
        self._transport.write(request)
        return call

    def pause(self) -> None:
        """Take no more from the backend for now."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Go on taking what the backend sends."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def finish_soon(self) -> None:
        """Close unless the end of the answer comes soon."""
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().call_later(FINISH_SECONDS_MAX, self.close)

    def close(self) -> None:
        """Close at once, whatever was still to be sent."""
        self._part("the connection was closed")
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if (call := self._call) is None:  # These bytes answer no request.
            self._transport.abort()
            return
        if call.status is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._part(f"the backend does not speak HTTP/1.1 ({type(error).__name__})")
        if call.status is None and self._head_bytes > HEAD_BYTES_MAX:
            self._part("the backend sent a head that is too large")
        if self._whole and self._call is not None:
            self._part(None)
            # What was answered before it was whole would go on being sent ahead of the next request.
            if self._keep and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
                self.resume()  # The end may have come with what filled the buffer.
                self._on_free(self)
                return
        call.wake() if self._call is not None else self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        of_no_length = self._call is not None and self._call.status is not None and self._until_the_end
        self._part(None if of_no_length and exc is None else "the backend closed the connection")
        self._on_lost(self)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._whole:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        name = name.lower()
        if name == b"content-type" and self._call is not None:
            self._call.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == _WEIGHTS_HEADER and self._call is not None:
            self._call.weights_sha256 = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._until_the_end = False

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            raise ValueError("an interim answer that nobody asked for")
        if self._call is not None:
            self._call.status = status

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._call is not None and self._finishing is None:
            self._call.put(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole, self._keep = True, self._parser.should_keep_alive()

    def _part(self, error: str | None) -> None:
        """End the current call: `error` is None if its answer is whole."""
        if self._finishing is not None:
            self._finishing.cancel()
            self._finishing = None
        call, self._call = self._call, None
        if call is not None:
            call.leave(error)
