"""An answer that is kept: made without its client's pace, sent as far as the client follows, stored whole."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, Protocol

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.call.call import Call
from finpool.gateway.call.lifecycle import AnswerWriter, Rates
from finpool.gateway.errors import IdempotentAnswerTooLarge
from finpool.gateway.idempotency.service import Idempotency, KeyClaim
from finpool.kernel.errors import DomainError

Message = MutableMapping[str, Any]
"""A message of ASGI."""


class KeptWriter(AnswerWriter, Protocol):
    """A writer whose answer can be kept."""

    def rest(self) -> bytes:
        """Return the bytes of a complete answer that `end` will send."""


class Recording:
    """The messages of one answer, for one reader, and all bytes of its body."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._outgrown = False
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self.body = bytearray()

    async def send(self, message: Message) -> None:
        """Add a message; raise `IdempotentAnswerTooLarge` once, when the body becomes too large to be kept."""
        part = message.get("body", b"")
        if not self._outgrown and len(self.body) + len(part) > self._bytes_max:
            self._outgrown = True
            raise IdempotentAnswerTooLarge(self._bytes_max)
        self.body += part
        self._messages.put_nowait(message)

    def end(self) -> None:
        """Let the reader end."""
        self._messages.put_nowait(None)

    async def messages(self) -> AsyncIterator[Message]:
        """Yield each message as it comes, until the end."""
        while (message := await self._messages.get()) is not None:
            yield message


class RecordedWriter:
    """Writes an answer into a recording, and keeps it before it is settled and before its last byte is sent."""

    def __init__(self, writer: KeptWriter, recording: Recording, claim: KeyClaim, idempotency: Idempotency) -> None:
        self._writer = writer
        self._recording = recording
        self._claim = claim
        self._idempotency = idempotency
        self._failed = False

    async def begin(self, rates: Rates) -> None:
        """Begin the answer."""
        await self._writer.begin(rates)

    async def stream(self, call: Call) -> None:
        """Pass the chunks on."""
        await self._writer.stream(call)

    def complete(self, usage: TokenUsage) -> None:
        """Complete the answer."""
        self._writer.complete(usage)

    async def keep(self) -> None:
        """Store the complete answer; raises `IdempotentAnswerTooLarge` or `IdempotencyUnavailable`."""
        answer = bytes(self._recording.body) + self._writer.rest()
        bytes_max = self._idempotency.bounds.answer_bytes_max
        if len(answer) > bytes_max:
            raise IdempotentAnswerTooLarge(bytes_max)
        await self._idempotency.keep(self._claim, answer)

    def break_off(self, error: DomainError) -> None:
        """Break the answer off; its key becomes free before the client is told."""
        self._failed = True
        self._writer.break_off(error)

    async def end(self, rates: Rates) -> None:
        """Send the end of the answer."""
        if self._failed:
            await self._idempotency.free(self._claim)
        await self._writer.end(rates)
