"""Reading an engine's answer: bytes in, chunks and running counts out."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import orjson

from finpool.catalogue.schemas import TokenUsage
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import EngineChunk
from finpool.serving.sse import EventDecoder

END_OF_STREAM = b"[DONE]"


class ChunkStream(AsyncIterator[EngineChunk]):
    """The chunks of one answer. It ends with the engine's `[DONE]`; any other end raises `EngineFailed`."""

    __slots__ = ("_content", "_decoder", "_done", "_pending", "_read_timeout_seconds")

    def __init__(self, content: aiohttp.StreamReader, read_timeout_seconds: float) -> None:
        self._content = content
        self._read_timeout_seconds = read_timeout_seconds
        self._decoder = EventDecoder()
        self._pending: deque[bytes] = deque()
        self._done = False

    def __aiter__(self) -> Self:
        return self

    @property
    def more_is_here(self) -> bool:
        """Tell whether the next chunk has arrived already: what arrived together may be passed on together."""
        if not self._pending and self._content.exception() is None:
            self._pending.extend(self._decoder.feed(self._content.read_nowait()))
        return bool(self._pending) and self._pending[0] != END_OF_STREAM

    async def __anext__(self) -> EngineChunk:
        """Return the next chunk; raise `EngineFailed` for an error event, a pause too long or a broken stream."""
        if self._done:
            raise StopAsyncIteration
        while not self._pending:
            received = await self._read()
            if not received:
                raise EngineFailed("The model broke off its answer.")
            self._pending.extend(self._decoder.feed(received))
        event = self._pending.popleft()
        if event == END_OF_STREAM:
            self._done = True
            await self._read_to_end()
            raise StopAsyncIteration
        return parse_chunk(event)

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._read_timeout_seconds):
                return await self._content.readany()
        except TimeoutError as error:
            raise EngineFailed("The model stopped answering.") from error
        except aiohttp.ClientError as error:
            raise EngineFailed("The connection to the model broke.") from error

    async def _read_to_end(self) -> None:
        """Read what is left of the body, because only then can the connection serve another request."""
        while not self._content.at_eof():
            await self._read()


def parse_chunk(event: bytes) -> EngineChunk:
    """Return the chunk that an event carries; raise `EngineFailed` for the engine's error or for anything else."""
    try:
        data = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise EngineFailed("The model sent something that is not JSON.") from error
    if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
        raise EngineFailed("The model failed while it was answering.")
    reported = data.pop("usage", None)
    return EngineChunk(data=data, usage=None if reported is None else _usage(reported))


def _usage(reported: dict[str, Any]) -> TokenUsage:
    """Read OpenAI's usage object; an engine that reports nonsense is an error, never an estimate."""
    try:
        details = reported.get("prompt_tokens_details") or {}
        read, cached, written = (
            reported["prompt_tokens"],
            details.get("cached_tokens") or 0,
            reported["completion_tokens"],
        )
        if type(read) is not int or type(cached) is not int or type(written) is not int:
            raise TypeError("token counts are whole numbers")
        return TokenUsage(read, cached, written)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise EngineFailed("The model reported an impossible usage.") from error
