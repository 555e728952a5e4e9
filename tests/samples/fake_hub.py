"""A hub of weights on this machine, which fails as a test says."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = b"GGUF\x03\0\0\0" + bytes(range(256)) * 4096


class Hub(ThreadingHTTPServer):
    """A hub that can break off and that counts how often it is asked."""

    content = CONTENT
    breaks_off_at: int | None = None
    status: int | None = None
    fails_after_first = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges: list[str | None] = []
        self.others: dict[str, bytes] = {}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        wanted = self.headers.get("Range")
        hub.ranges.append(wanted)
        content = {"/bank/small/resolve/v1/dir/small.gguf": hub.content, **hub.others}.get(self.path)
        if hub.status or content is None:
            self.send_error(hub.status or 404)
            return
        if hub.fails_after_first:
            hub.status = 503
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content):
            self.send_error(416)
            return
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: hub.breaks_off_at])
        hub.breaks_off_at = None

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""
