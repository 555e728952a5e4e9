"""A decoder of server-sent events: `data:` lines, comments, both line endings, split at any byte."""

from finpool.serving.errors import EngineFailed

EVENT_BYTES_MAX = 4_194_304
"""A larger event comes from a broken engine and must not fill the gateway's memory."""

_FIELD = b"data:"


class EventDecoder:
    """The decoder of one byte stream into the data of its events."""

    __slots__ = ("_data", "_pending_bytes", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of every event that `received` completes; raise `EngineFailed` for an oversized event."""
        lines = (self._rest + received).split(b"\n")
        self._rest = lines.pop()
        events: list[bytes] = []
        for raw_line in lines:
            line = raw_line.removesuffix(b"\r")
            if line.startswith(_FIELD):
                value = line[len(_FIELD) :].removeprefix(b" ")
                self._data.append(value)
                self._pending_bytes += len(value)
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
                self._pending_bytes = 0
        if self._pending_bytes + len(self._rest) > EVENT_BYTES_MAX:
            raise EngineFailed("The engine sent an event that is too large.")
        return events
