"""The two ways an answer leaves: whole, or as a stream. Either is given up the moment its client goes away."""

import asyncio
from abc import ABC, abstractmethod

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from finpool.gateway.answer.render import DONE, Renderer, error_event
from finpool.gateway.answer.vectors import WholeBody
from finpool.gateway.call.call import Call
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import DomainError
from finpool.quota.schemas import rate_headers

CLIENT_READ_SECONDS_MAX = 60.0


class Answer(Response, ABC):
    """Runs a call and sends what it gives. Errors before the first byte are raised, for the app to render."""

    def __init__(self, call: Call, headers: dict[str, str]) -> None:
        self.background = None
        self._call = call
        self._answer_headers = headers
        self._began_at = monotonic_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the answer is sent or the client is gone; a client that goes cancels the call."""
        reader = Reader(send)
        serving = reader.watched = asyncio.ensure_future(self._serve(reader.send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.leave()
            leaving.cancel()
            if not serving.done():
                serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            if not serving.cancelled():
                raise

    @abstractmethod
    async def _serve(self, send: Send) -> None:
        """Run the call and send the answer."""

    async def _start(self, send: Send, content_type: str, content_bytes: int | None = None) -> None:
        headers = {
            **self._answer_headers,
            "content-type": content_type,
            "openai-processing-ms": str(int((monotonic_seconds() - self._began_at) * 1000)),
        }
        headers |= rate_headers(self._call.rates())
        if content_bytes is None:
            headers["cache-control"] = "no-cache"
        else:
            headers["content-length"] = str(content_bytes)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})


class WholeAnswer(Answer):
    """A plain completion, embeddings or a ranking."""

    def __init__(self, call: Call, whole: WholeBody, headers: dict[str, str]) -> None:
        super().__init__(call, headers)
        self._whole = whole

    async def _serve(self, send: Send) -> None:
        async with self._call as call:
            async for chunks in call.chunks():
                for choices in chunks:
                    self._whole.add(choices)
            # An answer that turns out not to be whole is settled as failed, not as complete.
            body = self._whole.body(call.usage)
            await call.complete()
            await self._start(send, "application/json", len(body))
            await send({"type": "http.response.body", "body": body})


class StreamedAnswer(Answer):
    """A completion as server-sent events."""

    def __init__(self, call: Call, renderer: Renderer, headers: dict[str, str]) -> None:
        super().__init__(call, headers)
        self._renderer = renderer

    async def _serve(self, send: Send) -> None:
        async with self._call as call:
            await self._start(send, "text/event-stream; charset=utf-8")
            unsent, goes_along = bytearray(), False
            try:
                async for chunks in call.chunks():
                    for choices in chunks:
                        unsent += self._renderer.chunk(choices)
                    if not (goes_along or call.more_is_here):
                        await asyncio.sleep(0)  # The others get their turn; what arrives meanwhile goes along, once.
                    goes_along = call.more_is_here
                    if unsent and not goes_along:
                        await _send_part(send, bytes(unsent))
                        unsent.clear()
                await call.complete()
                unsent += self._renderer.usage_chunk(call.usage) + DONE
            except DomainError as error:
                unsent += error_event(error)
                await call.fail()
            await send({"type": "http.response.body", "body": bytes(unsent)})


class Reader:
    """A client, given up when it does not read: it counts as gone, and holds no slot of the engine any longer.

    One timer watches the whole answer: one for each part would cost more than sending it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waits_since: float | None = None
        self._timer = self._loop.call_later(CLIENT_READ_SECONDS_MAX, self._look)
        self.watched: asyncio.Future[None] | None = None

    async def send(self, message: Message) -> None:
        """Send a part; it waits for as long as the client reads more slowly than it is sent to."""
        self._waits_since = self._loop.time()
        await self._send(message)
        self._waits_since = None

    def leave(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _look(self) -> None:
        since = self._loop.time() if self._waits_since is None else self._waits_since
        waits_seconds = since + CLIENT_READ_SECONDS_MAX - self._loop.time()
        if waits_seconds <= 0 and self.watched is not None:
            self.watched.cancel("the client stopped reading")
        else:
            self._timer = self._loop.call_later(max(waits_seconds, 0.01), self._look)


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
