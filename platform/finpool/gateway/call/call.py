"""One admitted request, from its reservation to its settlement. It is resolved exactly once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.call.admission import Admitted
from finpool.gateway.call.first_usage import first_usage
from finpool.gateway.call.open_calls import OpenCalls
from finpool.gateway.call.prompt_counter import PromptCounter
from finpool.gateway.queue.queue import FairQueue
from finpool.gateway.queue.turn import Turn
from finpool.kernel import telemetry
from finpool.kernel.clock import now
from finpool.kernel.logs import logger
from finpool.metering.errors import SpoolUnavailable
from finpool.metering.meter.service import Marks, Metering
from finpool.metering.spool.schemas import Intent, Outcome, Settlement
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.quota.reservation.service import Quota, Reservation
from finpool.quota.schemas import RateStatus
from finpool.serving.backend.breaker import BreakerPermit
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineRefused, EngineUnavailable
from finpool.serving.protocols import EngineStream

RETRY_SECONDS = 1.0
_NOTHING = TokenUsage(input_tokens=0, cached_input_tokens=0, output_tokens=0)
_log = logger("gateway.call")


class Call:
    """A call for `lifecycle.serve`: its methods are the steps in order, and leaving the block resolves it.

    A step raises the reason of a refusal. Leaving without `settle` means that the client disconnected (a cancellation)
    or that a step failed (any other exception).
    """

    def __init__(
        self,
        admitted: Admitted,
        *,
        quota: Quota,
        metering: Metering,
        queue: FairQueue,
        backends: Backends,
        counter: PromptCounter,
        open_calls: OpenCalls,
    ) -> None:
        self._admitted = admitted
        self._quota = quota
        self._metering = metering
        self._queue = queue
        self._backends = backends
        self._counter = counter
        self._open_calls = open_calls
        self._permit: BreakerPermit | None = None
        self._reservation: Reservation | None = None
        self._intent: Intent | None = None
        self._stream: EngineStream | None = None
        self._turn: Turn | None = None
        self._resolved = False
        self._resolving: asyncio.Future[None] | None = None
        self._marks: Marks | None = None
        self._span = telemetry.start_call_span(admitted.operation, admitted.model.id, admitted.actor.tenant)
        self._estimated = self._counts_as_request = False
        self.usage = _NOTHING

    async def __aenter__(self) -> Self:
        self._open_calls.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resolve(error)

    def pass_breaker(self) -> None:
        """Enter the engine's circuit breaker; raise `EngineUnavailable` while it is open."""
        self._permit = self._backends.breaker(self._admitted.model).enter()

    async def reserve(self) -> None:
        """Reserve the largest use of the request; tokenize its prompt exactly only if that bound does not fit."""
        try:
            self._reservation = await self._reserve_bound()
        except (InsufficientQuota, RateLimitExceeded, RequestAboveLimit) as refusal:
            counted = await self._counter.counted(self._admitted, refusal)
            if counted is None:
                raise
            self._admitted = counted
            with self._counter.pause_if_refused(counted.actor.tenant):
                self._reservation = await self._reserve_bound()

    async def record_intent(self) -> None:
        """Write the intent to disk, with payer and price; raise `SpoolUnavailable`."""
        assert self._reservation is not None  # noqa: S101 - `reserve` comes before.
        self._intent = self._admitted.intent(self._reservation.lease_ids)
        try:
            self._marks = await self._metering.begin(self._intent)
        except SpoolUnavailable:
            self._intent = None  # The spool did not store it, so there is nothing to discard.
            raise

    async def wait_for_turn(self) -> None:
        """Wait in the model's fair queue; raises `QueueRefusal`."""
        admitted = self._admitted
        self._turn = await self._queue.enter(admitted.actor.tenant, admitted.length_bound, batch=admitted.batch)

    async def dispatch(self) -> None:
        """Send the request to its engine and wait for the first chunk; raises as `Backends.ask`."""
        assert self._permit is not None  # noqa: S101 - `pass_breaker` and `wait_for_turn` come before.
        assert self._turn is not None  # noqa: S101
        admitted = self._admitted
        self._permit.patient = self._turn.long
        with self._permit:
            self._stream = await self._backends.ask(
                admitted.operation,
                admitted.model,
                admitted.engine_body,
                admitted.request_id,
                expected_service=self._turn.expected_cost,
                load_ms=admitted.load_ms,
            )
            await self._stream.begun()
        self._permit.heard()
        self._permit.worked()

    async def chunks(self) -> AsyncIterator[list[list[dict[str, Any]]]]:
        """Yield the choices of each read's chunks, maybe none, and count the usage on the way."""
        assert self._stream is not None  # noqa: S101 - `dispatch` comes before.
        assert self._permit is not None  # noqa: S101
        with self._permit:
            async for chunks in self._stream:
                self._permit.heard()
                if chunks.usage is not None:
                    self._count(chunks.usage)
                yield chunks.choices

    @property
    def more_is_here(self) -> bool:
        """Whether the next part or the end has already arrived, so that both may be sent together."""
        return self._stream is not None and self._stream.more_is_here

    async def mark(self) -> None:
        """Write the usage to disk as it is, so that a crash settles no less; raises `SpoolUnavailable`."""
        assert self._marks is not None  # noqa: S101 - `record_intent` comes before.
        await self._marks.note_durably(self.usage)

    async def settle(self, outcome: Outcome) -> None:
        """Settle the request; durable when this returns. Later calls do nothing."""
        await self._finish(outcome)

    def rates(self) -> dict[str, RateStatus]:
        """Return the rests of the tenant's rates."""
        return self._quota.status(self._admitted.subject)

    async def _reserve_bound(self) -> Reservation:
        admitted = self._admitted
        return await self._quota.reserve(
            admitted.subject, admitted.request_id, amount_picos=admitted.amount_picos, tokens=admitted.tokens
        )

    def _count(self, usage: TokenUsage) -> None:
        if self._turn is not None:
            self._queue.use(self._turn, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        self.usage = usage
        if self._marks is not None:
            self._marks.note(usage)

    async def _resolve(self, error: BaseException | None) -> None:
        """Resolve after leaving the block: settle computed tokens, or discard an intent that no engine computed."""
        self._counts_as_request = isinstance(error, EngineRefused)
        nothing_computed = isinstance(error, EngineUnavailable | EngineRefused) and self.usage is _NOTHING
        if self._stream is None or nothing_computed:
            await self._finish(None)
        elif error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
            await self._finish(Outcome.ABORTED)
        else:
            await self._finish(Outcome.FAILED)

    async def _finish(self, outcome: Outcome | None) -> None:
        """Close the engine's stream and record the end, even if the surrounding task is cancelled in the meantime."""
        if self._resolved:
            return
        self._resolved = True
        self._resolving = asyncio.ensure_future(self._put_on_record(outcome))
        await asyncio.shield(self._resolving)

    async def _put_on_record(self, outcome: Outcome | None) -> None:
        if outcome is Outcome.ABORTED and self.usage is _NOTHING and self._stream and self._permit:
            outcome, self._estimated = await first_usage(self._stream, self._permit, self._count)
        if self._stream is not None:
            self._estimated = self._estimated or self._stream.estimates
            self._stream.close()
        if self._permit is not None:
            answered = outcome is Outcome.COMPLETED or self.usage is not _NOTHING or self._counts_as_request
            self._permit.end(worked=answered)
        if self._turn is not None:
            usage = self.usage
            self._queue.leave(self._turn, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        telemetry.end_call_span(self._span, outcome or "refused", self.usage.input_tokens, self.usage.output_tokens)
        try:
            await self._record(outcome)
        except SpoolUnavailable:
            # An answer that the client sees as failed costs nothing, even a complete one.
            ended = Outcome.FAILED if outcome is Outcome.COMPLETED else outcome
            self._resolving = asyncio.ensure_future(self._record_later(ended))
            raise
        self._open_calls.discard(self)

    async def _record_later(self, outcome: Outcome | None) -> None:
        """Retry until the spool takes the record; the reservation stays held. A restart would settle the intent on
        disk.
        """
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(SpoolUnavailable):
                await self._record(outcome)
                self._open_calls.discard(self)
                return

    async def _record(self, outcome: Outcome | None) -> None:
        reservation, intent, usage = self._reservation, self._intent, self.usage
        if reservation is None:
            return
        if outcome is None or intent is None:
            if intent is not None:
                await self._metering.discard(intent)
            self._quota.release(reservation, requests=int(self._counts_as_request))
            return
        settlement = Settlement(
            intent=intent,
            outcome=outcome,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
            estimated=self._estimated,
            settled_at=now().isoformat(),
            queue_ms=None if self._turn is None else self._turn.queue_ms,
        )
        cost_picos = await self._metering.settle(settlement)
        if cost_picos > reservation.amount_picos:
            _log.error("a request cost more than was reserved", request_id=intent.request_id, cost_picos=cost_picos)
        # Unreported tokens may have been used, so an estimated request keeps its bound in the rate window.
        tokens = reservation.tokens if self._estimated else usage.input_tokens + usage.output_tokens
        self._quota.settle(reservation, cost_picos=cost_picos, tokens=tokens)
