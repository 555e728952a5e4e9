"""One HTTP/1.1 connection to a backend, with one HTTP call at a time (ADR 0017).

Sending does not wait. A caller may be cancelled while it waits for the answer and wait again later; nothing that the
engine reports in between is lost.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from finpool.serving.errors import ConnectionBroken
from finpool.serving.schemas import WEIGHTS_HEADER

BUFFERED_BYTES_MAX = 262_144
"""Reading from an engine pauses while more than this many bytes wait for a slow client."""

HEAD_BYTES_MAX = 65_536
FINISH_SECONDS_MAX = 5.0
"""The longest wait for the end of a body after the whole answer has arrived."""

_WEIGHTS_HEADER = WEIGHTS_HEADER.encode()


class HttpCall:
    """One sent request and its answer as it arrives. Only one task may wait for it."""

    __slots__ = (
        "_buffered_bytes",
        "_connection",
        "_error",
        "_parts",
        "_waiter",
        "content_type",
        "ended",
        "retry_after",
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
        self.retry_after: dict[bytes, bytes] = {}

    async def head(self, seconds_max: float) -> int:
        """Return the answer's status; raise `ConnectionBroken`, or `TimeoutError` after `seconds_max`."""
        until = asyncio.get_running_loop().time() + seconds_max
        while self.status is None:
            await self._wait(until - asyncio.get_running_loop().time())
        return self.status

    async def read(self, seconds_max: float) -> bytes:
        """Return the received part of the body, or nothing at its end; raise as `head` does."""
        while not self._parts and not self.ended:
            await self._wait(seconds_max)
        return self.received()

    @property
    def more_is_here(self) -> bool:
        """Whether another part of the body has arrived."""
        return bool(self._parts)

    def received(self) -> bytes:
        """Return the received part of the body that was not read yet."""
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        if self._buffered_bytes > BUFFERED_BYTES_MAX and self._connection is not None:
            self._connection.resume()
        self._buffered_bytes = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Stop reading a complete answer; the connection is kept if the end of the body comes soon."""
        if self._connection is not None:
            self._connection.finish_soon()

    def close(self) -> None:
        """Drop the answer. An incomplete one closes the connection, which makes the engine stop."""
        if self._connection is not None:
            self._connection.close()

    def put(self, part: bytes) -> None:
        """Add a part of the body from the connection."""
        self._parts.append(part)
        self._buffered_bytes += len(part)
        if self._buffered_bytes > BUFFERED_BYTES_MAX and self._connection is not None:
            self._connection.pause()

    def wake(self) -> None:
        """Wake the waiting task, which then checks for new data."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self, error: str | None) -> None:
        """Detach from the connection: the answer is complete, or `error` says why it never will be."""
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

    It calls `on_free(connection)` when it may be reused, and `on_lost(connection)` at its end.
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
        """Whether a request may be sent."""
        return self._call is None and not self._transport.is_closing()

    def send(self, request: bytes) -> HttpCall:
        """Send a whole request; the connection must be usable."""
        self._head_bytes, self._until_the_end, self._whole = 0, True, False
        call = self._call = HttpCall(self)
        self._transport.write(request)
        return call

    def pause(self) -> None:
        """Pause reading from the backend."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Resume reading from the backend."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def finish_soon(self) -> None:
        """Close the connection unless the end of the answer arrives within `FINISH_SECONDS_MAX`."""
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().call_later(FINISH_SECONDS_MAX, self.close)

    def close(self) -> None:
        """Close the connection at once and drop unsent data."""
        self._detach("the connection was closed")
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport; called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed received bytes to the parser; called by the event loop."""
        if (call := self._call) is None:  # These bytes answer no request.
            self._transport.abort()
            return
        if call.status is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._detach(f"the backend does not speak HTTP/1.1 ({type(error).__name__})")
        if call.status is None and self._head_bytes > HEAD_BYTES_MAX:
            self._detach("the backend sent a head that is too large")
        if self._whole and self._call is not None:
            self._detach(None)
            # An unsent rest of the request would precede the next one, so such a connection is not kept.
            if self._keep and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
                self.resume()  # The last bytes may have filled the buffer and paused reading.
                self._on_free(self)
                return
        call.wake() if self._call is not None else self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the current call; called by the event loop."""
        of_no_length = self._call is not None and self._call.status is not None and self._until_the_end
        self._detach(None if of_no_length and exc is None else "the backend closed the connection")
        self._on_lost(self)

    def on_message_begin(self) -> None:
        """Reject a second answer to one request; called by the parser."""
        if self._whole:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store the headers that the call needs; called by the parser."""
        name = name.lower()
        if name == b"content-type" and self._call is not None:
            self._call.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == _WEIGHTS_HEADER and self._call is not None:
            self._call.weights_sha256 = value.decode("latin-1")
        elif name.startswith(b"retry-after") and self._call is not None:
            self._call.retry_after[name] = value
        elif name in (b"content-length", b"transfer-encoding"):
            self._until_the_end = False

    def on_headers_complete(self) -> None:
        """Store the status; called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            raise ValueError("an interim answer without a request for one")
        if self._call is not None:
            self._call.status = status

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the call; called by the parser."""
        if self._call is not None and self._finishing is None:
            self._call.put(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer; called by the parser."""
        self._whole, self._keep = True, self._parser.should_keep_alive()

    def _detach(self, error: str | None) -> None:
        """End the current call; `error` is None if its answer is complete."""
        if self._finishing is not None:
            self._finishing.cancel()
            self._finishing = None
        call, self._call = self._call, None
        if call is not None:
            call.leave(error)
