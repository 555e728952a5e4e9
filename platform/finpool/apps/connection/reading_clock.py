"""The clock of a client that does not take its answer, and the bytes that wait in a connection's socket."""

import asyncio
import fcntl
import sys
import termios

READ_BYTES_MIN = 16_384
"""The least part of a waiting answer that a client has to take within the clock's time, or all of a smaller rest."""


class ReadingClock:
    """Cuts a connection off whose client takes too little of the bytes that wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds_max: float) -> None:
        self._loop = loop
        self._transport = transport
        self._seconds_max = seconds_max
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the clock if bytes wait, unless it runs."""
        if self._timer is not None:
            return
        self._waiting_bytes = self._transport.get_write_buffer_size()
        if self._waiting_bytes:
            self._timer = self._loop.call_later(self._seconds_max, self._on_time)

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        before = self._waiting_bytes
        if self._transport.get_write_buffer_size() > max(0, before - READ_BYTES_MIN):
            self._transport.abort()
        else:
            self.start()


def arrived_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes that have arrived at the connection's socket and were not read yet."""
    opened = transport.get_extra_info("socket")
    if opened is None:
        return 0
    waiting = fcntl.ioctl(opened.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder)
