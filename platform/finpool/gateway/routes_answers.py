"""The writers of answers: whole, or as a stream. A client that disconnects cancels its call at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.answer.render import DONE, error_event
from finpool.gateway.answer.vectors import WholeBody
from finpool.gateway.call.call import Call
from finpool.gateway.call.lifecycle import Rates, serve
from finpool.gateway.idempotency.recording import KeptWriter
from finpool.kernel.answer_headers import BUFFERING, CACHE_CONTROL
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.door.connection import call_when_left
from finpool.kernel.errors import DomainError
from finpool.quota.schemas import rate_headers

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
STREAM_HEADERS = {CACHE_CONTROL: "no-cache", BUFFERING: "no"}
"""Proxies neither keep a stream nor hold it back; nginx buffers answers unless it is told so."""


class AnswerStart:
    """The start of an answer: its status and headers, sent once."""

    def __init__(self, send: Send, headers: dict[str, str], began_at: float) -> None:
        self._send = send
        self._headers = headers
        self._began_at = began_at

    async def send(self, rates: Rates, content_type: str, content_bytes: int | None = None) -> None:
        """Send the headers; without a length the answer is a stream."""
        headers = {
            **self._headers,
            "content-type": content_type,
            "openai-processing-ms": str(int((monotonic_seconds() - self._began_at) * 1000)),
        }
        headers |= rate_headers(rates())
        if content_bytes is None:
            headers |= STREAM_HEADERS
        else:
            headers["content-length"] = str(content_bytes)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})


class EventRenderer(Protocol):
    """Renders the chunks of an answer as server-sent events."""

    def chunk(self, choices: list[dict[str, Any]]) -> bytes:
        """Return one event, or nothing; raise `EngineFailed` for choices that do not fit the request."""

    def usage_chunk(self, usage: TokenUsage) -> bytes:
        """Return the final event with the usage, or nothing unless the client requested it."""


class WholeWriter:
    """Writes a plain completion, embeddings or a ranking: one body, once it is complete."""

    def __init__(self, parts: WholeBody, send: Send, start: AnswerStart) -> None:
        self._parts = parts
        self._send = send
        self._start = start
        self._body = b""

    async def begin(self, rates: Rates) -> None:
        """Send nothing yet: an error may still replace the answer."""

    async def stream(self, call: Call) -> None:
        """Collect the engine's chunks."""
        async for chunks in call.chunks():
            for choices in chunks:
                self._parts.add(choices)

    def complete(self, usage: TokenUsage) -> None:
        """Build the body; raise `EngineFailed` if a part is missing, so that the call is settled as failed."""
        self._body = self._parts.body(usage)

    def rest(self) -> bytes:
        """Return the body."""
        return self._body

    def break_off(self, error: DomainError) -> None:
        """Raise the error, which the app renders."""
        raise error

    async def end(self, rates: Rates) -> None:
        """Send headers and body."""
        await self._start.send(rates, JSON, len(self._body))
        await self._send({"type": "http.response.body", "body": self._body})


class StreamWriter:
    """Writes a completion as server-sent events."""

    def __init__(self, renderer: EventRenderer, send: Send, start: AnswerStart) -> None:
        self._renderer = renderer
        self._send = send
        self._start = start
        self._unsent = bytearray()
        self._end = b""

    async def begin(self, rates: Rates) -> None:
        """Send the headers."""
        await self._start.send(rates, EVENT_STREAM)

    async def stream(self, call: Call) -> None:
        """Send chunks as they come; chunks that arrive while other tasks run are sent together, once."""
        unsent, sent_together = self._unsent, False
        async for chunks in call.chunks():
            for choices in chunks:
                unsent += self._renderer.chunk(choices)
            if not (sent_together or call.more_is_here):
                await asyncio.sleep(0)  # Let other tasks run; a chunk that arrives then is sent too.
            sent_together = call.more_is_here
            if unsent and not sent_together:
                await self._send({"type": "http.response.body", "body": bytes(unsent), "more_body": True})
                unsent.clear()

    def complete(self, usage: TokenUsage) -> None:
        """End the stream with the usage, if the client asked for it, and the end marker."""
        self._end = self._renderer.usage_chunk(usage) + DONE

    def rest(self) -> bytes:
        """Return the last bytes."""
        return bytes(self._unsent) + self._end

    def break_off(self, error: DomainError) -> None:
        """End the stream with an error event: its headers are sent already."""
        self._end = error_event(error)

    async def end(self, rates: Rates) -> None:
        """Send the last bytes."""
        await self._send({"type": "http.response.body", "body": self.rest()})


Writer = Callable[[Send, AnswerStart], KeptWriter]
"""Builds the writer of one answer for the client's connection."""


class ModelAnswer(Response):
    """The response that serves a call. Errors before the first byte are raised, and the app renders them."""

    def __init__(self, call: Call, writer: Writer, headers: dict[str, str]) -> None:
        self.background = None
        self._call = call
        self._writer = writer
        self._answer_headers = headers
        self._began_at = monotonic_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the answer is sent or the client disconnects, which cancels the call."""
        await until_client_leaves(self._serve, scope, receive, send)

    def _serve(self, send: Send) -> Coroutine[Any, Any, None]:
        return serve(self._call, self._writer(send, AnswerStart(send, self._answer_headers, self._began_at)))


async def until_client_leaves(
    answer: Callable[[Send], Coroutine[Any, Any, None]], scope: Scope, receive: Receive, send: Send
) -> None:
    """Run `answer` with the way to send, until it ends; a client that leaves, or is cut off, cancels it."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - an answer is always served in a task.
    has_left = False

    def leave() -> None:
        nonlocal has_left
        has_left = True
        task.cancel()

    stop_watching = call_when_left(scope, receive, leave)
    try:
        await answer(send)
    except asyncio.CancelledError:
        if not has_left:
            raise
        task.uncancel()
    finally:
        stop_watching()
