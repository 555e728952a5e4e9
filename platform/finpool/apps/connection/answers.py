"""Answers that the HTTP server writes itself, and answers to HTTP/1.0."""

import http
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from finpool.kernel.errors import DomainError


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


def refusal_of(error: DomainError) -> bytes:
    """Return the bytes of a refusal that ends its connection."""
    body = json.dumps(error.body()).encode()
    head = (
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
