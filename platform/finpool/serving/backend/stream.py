"""The stream of an engine's answer: it decodes bytes into chunks and running usage."""

from collections.abc import AsyncIterator
from typing import Any, Self

import orjson

from finpool.catalogue.model.schemas import TokenUsage
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import DomainError
from finpool.kernel.logs import logger
from finpool.serving.backend.reading import BUSY, busy, read, read_body, refusal, status_of
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import EngineChunks
from finpool.serving.transport.connection import HttpCall
from finpool.serving.transport.sse import EventDecoder

END_OF_STREAM = b"[DONE]"
_log = logger("serving.stream")


class ChunkStream(AsyncIterator[EngineChunks]):
    """The chunks of one answer. It ends with the engine's `[DONE]`; any other end raises `EngineFailed`."""

    __slots__ = (
        "_begin_by",
        "_call",
        "_decoder",
        "_done",
        "_failure",
        "_load_ms",
        "_read_seconds_max",
        "_refusal",
        "_weights_sha256",
    )

    def __init__(
        self,
        call: HttpCall,
        *,
        weights_sha256: str | None,
        begin_seconds_max: float,
        read_seconds_max: float,
        load_ms: int | None = None,
    ) -> None:
        self._call = call
        self._weights_sha256 = weights_sha256
        self._begin_by = monotonic_seconds() + begin_seconds_max
        self._read_seconds_max = read_seconds_max
        self._decoder = EventDecoder()
        self._load_ms = load_ms
        self._refusal = bytearray()
        self._failure: DomainError | None = None
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def begun(self) -> None:
        """Wait for the answer's status; raise the error of a refusal or a failure.

        An engine must name the weights that the request was admitted for. With others it fails before any chunk is
        passed on: the audited model is another one. Remote engines name no weights, so `weights_sha256` is None for
        them.
        """
        status = await status_of(self._call, self._begin_by - monotonic_seconds())
        if status != 200:
            await read_body(self._call, self._refusal, self._read_seconds_max)
            raise self._refused(status)
        if self._weights_sha256 is not None and self._call.weights_sha256 != self._weights_sha256:
            _log.error("an engine serves other weights", wanted=self._weights_sha256, served=self._call.weights_sha256)
            raise EngineFailed("The model's engine does not serve the weights that the catalogue names.")

    @property
    def estimates(self) -> bool:
        """Whether usage is an estimate; an engine of the pool reports it with each chunk."""
        return False

    @property
    def more_is_here(self) -> bool:
        """Whether another chunk or the end has already arrived."""
        return self._done or self._failure is not None or self._call.more_is_here

    async def __anext__(self) -> EngineChunks:
        """Return the chunks of one read; raise `EngineFailed` on an error event, a timeout or a broken stream.

        An engine may find an invalid input only after it has computed others; that raises `EngineRefused`.
        """
        if self._failure is not None:
            raise self._failure
        if self._done:
            raise StopAsyncIteration
        received = await read(self._call, self._read_seconds_max)
        if not received:
            raise EngineFailed("The model broke off its answer.")
        return self._parse(self._decoder.feed(received))

    def close(self) -> None:
        """Stop reading; an engine that has not ended stops generating."""
        if self._done:
            self._call.finish()
        else:
            self._call.close()

    def _refused(self, status: int) -> EngineRefused | EngineUnavailable | EngineFailed:
        if status == BUSY:
            return busy(self._call)
        return refusal(status, self._call.content_type, bytes(self._refusal), self._load_ms)

    def _broken_off(self, event: bytes, failure: EngineFailed) -> DomainError:
        """Return the error of an event that is not a chunk; an engine of the pool marks a refusal by its type."""
        try:
            refused = orjson.loads(event)["error"]["type"] == EngineRefused.type
        except (ValueError, LookupError, TypeError):
            return failure
        return refusal(400, "application/json", event) if refused else failure

    def _parse(self, events: list[bytes]) -> EngineChunks:
        """Return the chunks of the events; a failure after them is raised by the next read."""
        choices: list[list[dict[str, Any]]] = []
        usage, reported = None, None
        try:
            for event in events:
                if event == END_OF_STREAM:
                    self._done = True
                    break
                data = parse_chunk(event)
                if data["choices"]:
                    choices.append(data["choices"])
                if data.get("usage") is not None:
                    reported = data["usage"]
        except EngineFailed as failure:
            self._failure = self._broken_off(event, failure)
        try:
            # Counts never decrease, so the last one suffices.
            usage = None if reported is None else usage_of(reported)
        except EngineFailed as failure:
            self._failure = failure
        return EngineChunks(choices, usage)


def parse_chunk(event: bytes) -> dict[str, Any]:
    """Return the chunk of an event; raise `EngineFailed` for the engine's error or invalid JSON."""
    try:
        data = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise EngineFailed("The model sent something that is not JSON.") from error
    if type(data) is not dict or type(data.get("choices")) is not list:
        raise EngineFailed("The model failed while it was answering.")
    return data


def usage_of(reported: Any) -> TokenUsage:
    """Return the tokens of OpenAI's usage object; raise `EngineFailed` for an impossible one instead of an estimate."""
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
