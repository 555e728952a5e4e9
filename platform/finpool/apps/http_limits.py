"""Limits before authentication: the size of a head, the time for a request to arrive, and open connections.

The HTTP server has none of these, and it answers HTTP/1.0 in chunks. A deadline runs while a request arrives, never
while it is answered.
"""

import asyncio
import fcntl
import http
import json
import sys
import termios
from operator import itemgetter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from finpool.kernel.errors import DomainError, HeadersTooLarge, InvalidRequest, RequestTooSlow, Unavailable
from finpool.kernel.settings import Settings

CHUNK_OVERHEAD_BYTES = 32
"""Bytes of a chunk beside its content: the length in hexadecimal and two line ends."""

UNREAD_SECONDS = 0.05
"""How soon a connection with unread bytes is looked at again; reading them stops the clock."""

HEALTH = b"/healthz"
"""Also answered on a full door: a restart under load would leave no server at all."""


class AnswerUntilClose(RequestResponseCycle):
    """An answer to HTTP/1.0, which knows no chunks: one without a length ends where the connection does."""

    _until_close = False

    async def send(self, message: Any) -> None:
        """Send a part as it is; the server would write chunks."""
        if message["type"] == "http.response.start":
            self._until_close = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if self._until_close:
                self.chunked_encoding = False
        elif self._until_close:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class LimitedHttp(HttpToolsProtocol):
    """One connection with these limits. Every refusal has the platform's error shape and ends the connection."""

    head_bytes_max: ClassVar[int]
    arrival_seconds_max: ClassVar[float]
    connections_max: ClassVar[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._beside_body_bytes = 0
        self._arrived = False
        self._refusal: DomainError | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse an incomplete head above the limit, or start the next request's deadline."""
        self._beside_body_bytes += len(data)
        self._arrived = False
        super().data_received(data)
        if self._arrived:
            self._stop_deadline()
        elif self._beside_body_bytes > self.head_bytes_max:
            self._refuse(self._too_large())
        elif self._deadline is None and not self.transport.is_closing():
            self._start_deadline()

    def on_headers_complete(self) -> None:
        """Refuse an oversized head, or a connection above the limit, by an exception that the parser reports."""
        if self._beside_body_bytes > self.head_bytes_max:
            head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head_bytes > self.head_bytes_max:
                self._refusal = self._too_large()
                raise ValueError("the head is too large")
        if len(self.connections) > self.connections_max and self.url != HEALTH and not self._close_an_idle_one():
            self._refusal = Unavailable("The platform has too many connections open; try again shortly.")
            raise ValueError("there are too many connections")
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = AnswerUntilClose

    def on_body(self, body: bytes) -> None:
        """Count a part of the body, which has its own limit."""
        self._beside_body_bytes = max(0, self._beside_body_bytes - len(body) - CHUNK_OVERHEAD_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has arrived, so that no deadline limits its answer."""
        self._beside_body_bytes = 0
        self._arrived = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser rejected, or that was refused during parsing."""
        self._refuse(self._refusal or InvalidRequest("The request is not valid HTTP."))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request waits in its socket: closing would lose that request.

        A request that is on its way while the connection closes is still lost; no server can prevent that.
        """
        if not self.transport.is_closing() and _unread_bytes(self.transport):
            self.timeout_keep_alive_task = self.loop.call_later(UNREAD_SECONDS, self.timeout_keep_alive_handler)
            return
        super().timeout_keep_alive_handler()

    def _close_an_idle_one(self) -> bool:
        """Close the connection that has been idle longest; tell whether there was one."""
        idle = [
            (each.timeout_keep_alive_task.when(), each)
            for each in self.connections
            if isinstance(each, LimitedHttp) and each is not self and each.timeout_keep_alive_task is not None
        ]
        if not idle:
            return False
        min(idle, key=itemgetter(0))[1].transport.close()
        return True

    def _refuse(self, error: DomainError) -> None:
        """Send the error and close the connection; during another answer, only close."""
        if self.transport.is_closing():
            return
        if not self._under_way() or not self.cycle.response_started:
            self.transport.write(_answer(error))
        self.transport.close()

    def _under_way(self) -> bool:
        """Tell whether a request is being answered; before the first one `cycle` is None despite its type."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"The request line and the headers are larger than {self.head_bytes_max} bytes.")

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.arrival_seconds_max, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        answering = self._under_way() and not self.cycle.more_body
        if answering or self.flow.read_paused:
            # The client waits for the platform, or the platform has paused reading, so the client is not slow.
            self._start_deadline()
            return
        self._deadline = None
        self._refuse(RequestTooSlow(f"The request did not arrive within {self.arrival_seconds_max:g} seconds."))


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes that have arrived at the connection's socket and were not read yet."""
    opened = transport.get_extra_info("socket")
    if opened is None:
        return 0
    waiting = fcntl.ioctl(opened.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder)


def _answer(error: DomainError) -> bytes:
    body = json.dumps(error.body()).encode()
    head = (
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def http_protocol(settings: Settings) -> type[LimitedHttp]:
    """Return the HTTP protocol class with these settings."""

    class ConfiguredHttp(LimitedHttp):
        head_bytes_max = settings.head_bytes_max
        arrival_seconds_max = settings.request_arrival_seconds_max
        connections_max = settings.connections_max

    return ConfiguredHttp
