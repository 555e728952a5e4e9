"""Connections to the backends behind one base URL, kept alive between requests."""

import asyncio
import ssl
from urllib.parse import urlsplit

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import ConfigurationError
from finpool.serving.transport.connection import Connection, HttpCall

IDLE_SECONDS_MAX = 4.0
"""A connection that was idle for longer is not reused: servers close theirs after 5 seconds or more."""


class Connections:
    """The connections to one backend address. They ignore any proxy of the environment."""

    def __init__(self, base_url: str, token: str) -> None:
        """Take `http://host[:port][/path]` or https; raise `ConfigurationError` for any other address."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{base_url} is not the http or https address of a backend")
        if not (token.isascii() and token.isprintable()):
            raise ConfigurationError("the engine token may hold printable ASCII characters only")
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._headers = f"host: {parts.netloc.rpartition('@')[2]}\r\nauthorization: Bearer {token}\r\n"
        self._ssl = ssl.create_default_context() if self._tls else None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def post(
        self, path: str, body: bytes, request_id: str, connect_seconds_max: float, headers: str = ""
    ) -> HttpCall:
        """Send JSON and return the call; `headers` are further complete header lines.

        Raises `OSError` or `TimeoutError` without a connection; then nothing was sent.
        """
        connection = self._reusable() or await self._connect(connect_seconds_max)
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\n{self._headers}{headers}content-type: application/json\r\n"
            f"accept-encoding: identity\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return connection.send(head.encode("ascii") + body)

    async def get(self, path: str, connect_seconds_max: float, headers: str = "") -> HttpCall:
        """Send a GET and return the call; raise as `post` does."""
        connection = self._reusable() or await self._connect(connect_seconds_max)
        return connection.send(f"GET {self._path}{path} HTTP/1.1\r\n{self._headers}{headers}\r\n".encode("ascii"))

    def close(self) -> None:
        """Close every connection; running requests are aborted."""
        for connection in list(self._open):
            connection.close()

    def _reusable(self) -> Connection | None:
        """Return the most recently used connection, or None; connections that were idle too long are closed."""
        oldest = monotonic_seconds() - IDLE_SECONDS_MAX
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and connection.usable:
                return connection
            connection.close()
        return None

    async def _connect(self, seconds_max: float) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds_max):
            _, connection = await loop.create_connection(
                lambda: Connection(self._on_free, self._on_lost), self._host, self._port, ssl=self._ssl
            )
        if not connection.usable:
            raise ConnectionResetError("the backend closed the connection at once")
        self._open.add(connection)
        return connection

    def _on_free(self, connection: Connection) -> None:
        connection.idle_since = monotonic_seconds()
        self._idle.append(connection)

    def _on_lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
