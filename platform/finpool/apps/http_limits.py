"""Limits before authentication: the size of a head, the time for a request to arrive, and open connections.

The HTTP server has none of these. A deadline runs while a request arrives, never while it is answered.
"""

import asyncio
from typing import Any, ClassVar, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from finpool.apps.connection.answers import AnswerUntilClose, ClientAnswer, refusal_of
from finpool.apps.connection.client_addresses import TrustedProxies
from finpool.apps.connection.reading_clock import ReadingClock, arrived_bytes
from finpool.apps.connection.request_head import HIDDEN, fault_of, origin_of
from finpool.apps.connection.table import ConnectionBounds, DoorConnections, Origin
from finpool.kernel.errors import (
    DomainError,
    HeadersTooLarge,
    InvalidRequest,
    RequestTooSlow,
    TooManyConnections,
)
from finpool.kernel.settings import Settings

CHUNK_OVERHEAD_BYTES = 32
"""Bytes of a chunk beside its content: the length in hexadecimal and two line ends."""

UNREAD_SECONDS = 0.05
"""How soon a connection with unread bytes is looked at again; reading them stops the clock."""

HEALTH = b"/healthz"
"""Also answered on a full door: a restart under load would leave no server at all."""


class LimitedHttp(HttpToolsProtocol):
    """One connection with these limits. Every refusal has the platform's error shape and ends the connection."""

    head_bytes_max: ClassVar[int]
    arrival_seconds_max: ClassVar[float]
    read_seconds_max: ClassVar[float]
    table: ClassVar[DoorConnections]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.origin: Origin | None = None
        self.spare = False
        self._counted: tuple[bytes, ...] = ()
        self._beside_body_bytes = 0
        self._arrived = False
        self._refusal: DomainError | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: ReadingClock | None = None
        self._answered: ClientAnswer | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place among the door's connections, and start the deadline of the first request."""
        super().connection_made(transport)
        if self.table.admit(self, self.client[0] if self.client else ""):
            self._start_deadline()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the place and the counts, and stop the timers."""
        self._stop_deadline()
        if self._reading is not None:
            self._reading.stop()
        self.table.leave(self)
        self._end_counted()
        super().connection_lost(exc)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.client_left()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse an incomplete head above the limit, or start the next request's deadline."""
        self.table.idle.pop(self, None)
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
        """Refuse a head, or a connection above a bound, by an exception that the parser reports."""
        if self._beside_body_bytes > self.head_bytes_max:
            head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head_bytes > self.head_bytes_max:
                self._refusal = self._too_large()
                raise ValueError("the head is too large")
        http_version = self.parser.get_http_version()
        self._refusal = self._refusal_of_head(http_version)
        if self._refusal is not None:
            raise ValueError("the request is refused")
        super().on_headers_complete()
        cycle = cast(ClientAnswer, self.cycle)
        cycle.__class__ = AnswerUntilClose if http_version == "1.0" else ClientAnswer
        cycle.begin()
        if b"%" in self.url and HIDDEN.search(self.scope["raw_path"]):
            # Decoded, it would name another path than the one that a proxy in front has seen. As it is, no route has
            # it, and the app's task reads it only after this.
            self.scope["path"] = self.scope["raw_path"].decode("ascii")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start one answer; of several requests sent at once, the others wait for it."""
        self._answered = cast(ClientAnswer, cycle)
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Count a part of the body, which has its own limit."""
        self._beside_body_bytes = max(0, self._beside_body_bytes - len(body) - CHUNK_OVERHEAD_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has arrived, so that no deadline limits its answer."""
        self._beside_body_bytes = 0
        self._arrived = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that the connection is idle, or closes, unless another request waits on it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_counted()
            self._close()
        elif self.timeout_keep_alive_task is not None and self.origin is not None:
            self._end_counted()
            self.table.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser rejected, or that was refused during parsing."""
        self._refuse(self._refusal or InvalidRequest("The request is not valid HTTP."))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request waits in its socket: closing would lose that request.

        A request that is on its way while the connection closes is still lost; no server can prevent that.
        """
        if not self.transport.is_closing() and arrived_bytes(self.transport):
            self.timeout_keep_alive_task = self.loop.call_later(UNREAD_SECONDS, self.timeout_keep_alive_handler)
            return
        self._close()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not take its answer."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Stop the clock: the client has taken its answer."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.stop()

    def give_way(self) -> bool:
        """Close the connection for a newer one unless its request has arrived or is answered; tell whether it was."""
        if self._answering() or arrived_bytes(self.transport):
            return False
        self._close()
        return True

    def _refusal_of_head(self, http_version: str) -> DomainError | None:
        """Return why the server itself refuses the request; otherwise count it as under way."""
        hosts, credential, forwarded = origin_of(self.headers)
        fault = fault_of(self.url, http_version, hosts)
        if fault is not None:
            return InvalidRequest(fault)
        if self.url == HEALTH:
            return None
        if self.spare and (refusal := self.table.refusal_of(self)) is not None:
            return refusal
        if self._counted:
            return None
        counted = self.table.begin(self.origin, credential, forwarded)
        if isinstance(counted, TooManyConnections):
            return counted
        self._counted = counted
        return None

    def _end_counted(self) -> None:
        if self._counted:
            self.table.end(self._counted)
            self._counted = ()

    def _refuse(self, error: DomainError) -> None:
        """Send the error and close the connection; during another answer, only close."""
        if self.transport.is_closing():
            return
        if not self._under_way() or not self.cycle.response_started:
            self.transport.write(refusal_of(error))
        self._close()

    def _under_way(self) -> bool:
        """Tell whether a request is being answered; before the first one `cycle` is None despite its type."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _answering(self) -> bool:
        """Tell whether a request has arrived and is being answered."""
        return self._under_way() and not self.cycle.more_body

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"The request line and the headers are larger than {self.head_bytes_max} bytes.")

    def _close(self) -> None:
        """Close the connection; a client that does not take the rest of its answer is cut off later."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_reading()

    def _watch_reading(self) -> None:
        if self._reading is None:
            self._reading = ReadingClock(self.loop, self.transport, self.read_seconds_max)
        self._reading.start()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.arrival_seconds_max, self._on_deadline)
        if self.origin is not None:
            self.table.half_open[self] = None

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self.table.half_open.pop(self, None)

    def _on_deadline(self) -> None:
        if self._answering() or self.flow.read_paused:
            # The client waits for the platform, or the platform has paused reading, so the client is not slow.
            self._start_deadline()
            return
        self._deadline = None
        self._refuse(RequestTooSlow(f"The request did not arrive within {self.arrival_seconds_max:g} seconds."))


def http_protocol(settings: Settings, connections_max: int | None = None) -> type[LimitedHttp]:
    """Return the HTTP protocol class of one door; `connections_max` is lower than the setting if fewer fit."""
    proxies = TrustedProxies(settings.trusted_proxies or ())

    class ConfiguredHttp(LimitedHttp):
        head_bytes_max = settings.head_bytes_max
        arrival_seconds_max = settings.request_arrival_seconds_max
        read_seconds_max = settings.answer_read_seconds_max
        table = DoorConnections(ConnectionBounds.of(settings, connections_max or settings.connections_max), proxies)

    return ConfiguredHttp
