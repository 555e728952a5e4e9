"""The fair queue before each engine: it limits the running requests, and `FairScheduler` orders the turns."""

import asyncio
from collections.abc import Callable
from functools import partial

from finpool.gateway.errors import QueueRefusal
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.ids import TenantId

_TURN_SECONDS_GUESS = 2.0
"""The assumed length of a turn until the first one ends."""

_REMEMBERED_TURNS = 16


class FairQueue:
    """The queue of one engine. Not thread-safe."""

    def __init__(
        self,
        scheduler: FairScheduler,
        *,
        waiting_max: int,
        wait_seconds_max: float,
        clock: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._scheduler = scheduler
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self._clock = clock
        self._turn_seconds: float | None = None

    @property
    def idle(self) -> bool:
        """Whether no request waits and no turn runs."""
        return all(each.idle for each in self._scheduler.standings().values())

    async def enter(self, tenant_id: TenantId, length_bound: LengthBound, *, batch: bool = False) -> Turn:
        """Wait for a turn, which the caller ends by `leave`; raise `QueueRefusal` for a full queue or too long a wait.

        Batch requests wait until no interactive request of any tenant does.
        """
        if self._scheduler.waiting(tenant_id) >= self._waiting_max:
            raise QueueRefusal(
                f"{self._waiting_max} requests of this tenant are waiting for the model already.",
                self._wait_seconds(tenant_id),
            )
        coming: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        waiting, arrived = Waiting(length_bound, partial(self._begin, coming), batch=batch), self._clock()
        self._scheduler.arrive(tenant_id, waiting)
        self._scheduler.dispatch()
        turn = coming.result() if coming.done() else await self._turn_of(tenant_id, waiting, coming)
        turn.began_seconds = self._clock()
        turn.queue_ms = round(1000 * (turn.began_seconds - arrived))
        return turn

    def use(self, turn: Turn, *, input_tokens: int, output_tokens: int) -> None:
        """Charge a turn for its use so far, in total."""
        self._scheduler.use(turn, input_tokens=input_tokens, output_tokens=output_tokens)

    def leave(self, turn: Turn, *, input_tokens: int, output_tokens: int) -> None:
        """End a turn with its total use."""
        self._scheduler.end(turn, input_tokens=input_tokens, output_tokens=output_tokens)
        seconds = self._clock() - turn.began_seconds
        known = self._turn_seconds
        self._turn_seconds = seconds if known is None else known + (seconds - known) / _REMEMBERED_TURNS
        self._scheduler.dispatch()

    def _begin(self, coming: "asyncio.Future[Turn]", turn: Turn) -> None:
        if coming.done():
            # The waiting task was cancelled, but has not run since.
            self._scheduler.end(turn, input_tokens=0, output_tokens=0)
        else:
            coming.set_result(turn)

    async def _turn_of(self, tenant_id: TenantId, waiting: Waiting, coming: "asyncio.Future[Turn]") -> Turn:
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                return await coming
        except BaseException as error:
            if coming.done() and not coming.cancelled():
                # The turn began in the moment in which its task was cancelled.
                self._scheduler.end(coming.result(), input_tokens=0, output_tokens=0)
                self._scheduler.dispatch()
            else:
                self._scheduler.withdraw(tenant_id, waiting)
            if isinstance(error, TimeoutError):
                message = f"The model was busy for {self._wait_seconds_max:g} seconds."
                raise QueueRefusal(message, self._wait_seconds(tenant_id)) from error
            raise

    def _wait_seconds(self, tenant_id: TenantId) -> float:
        """Estimate the wait of one more request: its tenant's queue at the pace of its entitled share."""
        turn_seconds = self._turn_seconds or _TURN_SECONDS_GUESS
        turns_at_once = max(1, self._scheduler.in_flight_max) * self._scheduler.entitled_share(tenant_id)
        return (self._scheduler.waiting(tenant_id) + 1) * turn_seconds / turns_at_once
