"""Answers on a client's connection: their bytes, a call at once when the client has left, and the server's refusals.

They replace the HTTP server's own answers. Those check each header by two patterns, and come in chunks over HTTP/1.0.
Only a task that waits can learn from them that the client has left.
"""

import asyncio
import http
import json
import re
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from finpool.kernel.door.connection import LEAVING, Leaving
from finpool.kernel.errors import DomainError

_INVALID_HEAD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WITHOUT_BODY = frozenset({204, 304})


class ClientAnswer(RequestResponseCycle):
    """One request and its answer over HTTP/1.1; one without a length is sent in chunks."""

    _has_length = False
    _head = b""
    """The unsent head. It waits for the first part of the body, at most to the end of the loop's turn."""

    def begin(self) -> None:
        """Offer the app a call when the client has left."""
        self._leaving = Leaving()
        self.scope["extensions"] = {LEAVING: self._leaving}  # type: ignore[dict-item]

    def client_left(self) -> None:
        """Tell the app that the client has left before its answer was complete."""
        self.disconnected = True
        self.message_event.set()
        if self._leaving.call is not None:
            self._leaving.call()

    async def send(self, message: Any) -> None:
        """Send a part of the answer; wait while the client reads more slowly. Sends nothing to a client that left."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete or self.response_started == (message["type"] == "http.response.start"):
            raise RuntimeError(f"the message {message['type']} does not belong here in an answer")
        if not self.response_started:
            self.response_started, self.waiting_for_100_continue = True, False
            self._start(message["status"], [*self.default_headers, *message.get("headers", ())])
            return
        more = message.get("more_body", False)
        self._part(message.get("body", b""), more)
        if not more:
            self._end()

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines = []
        for given, value in headers:
            name = given.lower()
            if name == b"content-length":
                self._has_length, self.expected_content_length = True, int(value)
            elif name == b"transfer-encoding":
                raise RuntimeError("the server alone decides how a body is sent")
            elif name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            lines.append(name + b": " + value)
        self.chunked_encoding = self._takes_chunks(status)
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        if _INVALID_HEAD.search(b"".join(lines)):
            raise RuntimeError("a header of the answer holds a control character")
        self._head = STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"
        asyncio.get_running_loop().call_soon(self._send_head)

    def _send_head(self) -> None:
        if self._head and not self.transport.is_closing():
            self._write(b"")

    def _write(self, part: bytes) -> None:
        """Send the head with the part: one call of the system costs less than two."""
        self.transport.write(self._head + part)
        self._head = b""

    def _takes_chunks(self, status: int) -> bool:
        return not self._has_length and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY

    def _part(self, body: bytes, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self._write(b"")
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._write(framed if more else framed + b"0\r\n\r\n")
        else:
            self._count(body)
            self._write(body)

    def _count(self, body: bytes) -> None:
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0:
            raise RuntimeError("the body of an answer is longer than its length says")

    def _end(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the body of an answer is shorter than its length says")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class AnswerUntilClose(ClientAnswer):
    """An answer to HTTP/1.0, which knows no chunks: one without a length ends where the connection does."""

    def _takes_chunks(self, status: int) -> bool:
        return False

    def _count(self, body: bytes) -> None:
        if self._has_length:
            super()._count(body)


def refusal_of(error: DomainError) -> bytes:
    """Return the bytes of a refusal that ends its connection."""
    body = json.dumps(error.body()).encode()
    head = (
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
