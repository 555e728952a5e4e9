"""The response to a request with an `Idempotency-Key`: an answer that is kept, or the kept answer of before."""

import asyncio
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from finpool.gateway.call.admission import Admitted
from finpool.gateway.call.lifecycle import serve
from finpool.gateway.idempotency.identity import RequestIdentity
from finpool.gateway.idempotency.recording import RecordedWriter, Recording
from finpool.gateway.idempotency.service import KeyClaim
from finpool.gateway.routes_answers import EVENT_STREAM, JSON, AnswerStart, Writer, until_client_leaves
from finpool.gateway.service import Gateway
from finpool.kernel.answer_headers import REPLAYED
from finpool.kernel.clock import monotonic_seconds

_PART_BYTES = 65_536


class IdempotentAnswer(Response):
    """The response that claims the key first. A client that leaves does not end the work: its retry gets the answer."""

    def __init__(
        self,
        gateway: Gateway,
        admitted: Admitted,
        identity: RequestIdentity,
        writer: Writer,
        headers: dict[str, str],
    ) -> None:
        self.background = None
        self._gateway = gateway
        self._idempotency = gateway.idempotency
        self._admitted = admitted
        self._identity = identity
        self._writer = writer
        self._answer_headers = headers
        self._began_at = monotonic_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the first request with the key, and repeat its answer for every other one."""
        found = await self._idempotency.claim(self._admitted, self._identity)
        if not isinstance(found, KeyClaim):
            with self._idempotency.replaying(self._admitted.actor.tenant, len(found)):
                await until_client_leaves(partial(self._repeat, found), scope, receive, send)
            return
        recording = Recording(self._idempotency.bounds.answer_bytes_max)
        working = self._idempotency.work(self._answer(found, recording))
        await until_client_leaves(partial(_follow, recording, working), scope, receive, send)

    async def _answer(self, claim: KeyClaim, recording: Recording) -> None:
        """Serve the call into the recording; without a whole answer the key is free again."""
        start = AnswerStart(recording.send, self._answer_headers, self._began_at)
        writer = RecordedWriter(self._writer(recording.send, start), recording, claim, self._idempotency)
        try:
            await serve(self._gateway.call(self._admitted), writer, writer.keep)
        except BaseException:
            await self._idempotency.free(claim)
            raise
        finally:
            self._idempotency.end(claim)
            recording.end()

    async def _repeat(self, answer: bytes, send: Send) -> None:
        """Send a kept answer, byte for byte."""
        headers = {**self._answer_headers, REPLAYED: "true"}
        start, streamed = AnswerStart(send, headers, self._began_at), self._admitted.streamed
        rates = partial(self._idempotency.rates, self._admitted)
        await start.send(rates, EVENT_STREAM if streamed else JSON, None if streamed else len(answer))
        for position in range(0, len(answer), _PART_BYTES):
            part, more = answer[position : position + _PART_BYTES], position + _PART_BYTES < len(answer)
            await send({"type": "http.response.body", "body": part, "more_body": more})


async def _follow(recording: Recording, working: "asyncio.Task[None]", send: Send) -> None:
    """Send what is recorded as it comes; raises the error of an answer that has not begun."""
    async for message in recording.messages():
        await send(message)
    await asyncio.shield(working)  # Its end is no reason to end the work.
