"""A fair queue before each model: the tenant that was served least goes first, and few requests are in flight.

Virtual Token Counter ("Fairness in Serving Large Language Models", OSDI 2024): each tenant has a counter of the
service it got; a tenant that comes back after a pause is lifted to the others, so that it cannot save up a claim.
"""

import asyncio
from collections import deque

from finpool.gateway.errors import QueueRefusal
from finpool.kernel.ids import TenantId

INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2
_Waiter = asyncio.Future[None]


class FairQueue:
    """The queue of one model. Not for several threads."""

    def __init__(self, in_flight_max: int, *, waiting_max: int, wait_seconds_max: float) -> None:
        self._in_flight_max = in_flight_max
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self._in_flight = 0
        self._counters: dict[TenantId, int] = {}
        self._waiting: dict[TenantId, deque[_Waiter]] = {}
        self._last_departed = 0

    def charge(self, tenant_id: TenantId, *, input_tokens: int, output_tokens: int) -> None:
        """Count service as it is given."""
        cost = INPUT_WEIGHT * input_tokens + OUTPUT_WEIGHT * output_tokens
        self._counters[tenant_id] = self._counters.get(tenant_id, 0) + cost

    async def enter(self, tenant_id: TenantId) -> None:
        """Wait for a turn, to be ended by `leave`; raises `QueueRefusal` for a full queue or too long a wait."""
        queue = self._waiting.get(tenant_id)
        if queue is None:
            self._lift(tenant_id)
            queue = self._waiting[tenant_id] = deque()
        if len(queue) >= self._waiting_max:
            raise QueueRefusal(f"{self._waiting_max} requests of this tenant are waiting for the model already.")
        turn: _Waiter = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._dispatch()
        if turn.done():
            return
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await turn
        except BaseException as error:
            self._give_up(tenant_id, turn)
            if isinstance(error, TimeoutError):
                raise QueueRefusal(f"The model was busy for {self._wait_seconds_max:g} seconds.") from error
            raise

    def leave(self) -> None:
        """End a turn."""
        self._in_flight -= 1
        self._dispatch()

    def _give_up(self, tenant_id: TenantId, turn: _Waiter) -> None:
        if turn.done() and not turn.cancelled():
            self.leave()  # The turn came in the same moment in which its owner left.
            return
        queue = self._waiting.get(tenant_id)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._forget_if_empty(tenant_id)

    def _lift(self, tenant_id: TenantId) -> None:
        others = [self._counters.get(other, 0) for other in self._waiting]
        floor = min(others) if others else self._last_departed
        self._counters[tenant_id] = max(self._counters.get(tenant_id, 0), floor)

    def _dispatch(self) -> None:
        while self._in_flight < self._in_flight_max and self._waiting:
            tenant_id = min(self._waiting, key=lambda each: self._counters[each])
            turn = self._waiting[tenant_id].popleft()
            self._last_departed = self._counters[tenant_id]
            self._forget_if_empty(tenant_id)
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def _forget_if_empty(self, tenant_id: TenantId) -> None:
        if not self._waiting[tenant_id]:
            del self._waiting[tenant_id]
