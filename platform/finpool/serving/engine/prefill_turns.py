"""The turns of prompts in an engine: a step computes a bounded number of prompt tokens, in a fair order of tenants.

After start-time fair queuing: each tenant has a counter of its tokens, and the smallest counter gets the next turn. A
tenant that returns after a pause is lifted to the others' level. So its prompt begins with the next step, however long
the other prompts are, and it cannot save up a claim.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class _Tenant:
    __slots__ = ("counter", "last_turn", "turns", "waiting")

    def __init__(self) -> None:
        self.counter = 0
        self.last_turn = 0
        self.turns = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()


class PrefillTurns:
    """The prompt tokens of the engine's next step. Not thread-safe."""

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._tokens = 0
        self._tenants: dict[str, _Tenant] = {}
        self._last_turn = 0

    async def begin(self, name: str, tokens: int) -> None:
        """Wait until `tokens` of a tenant's prompt may be computed; the caller then calls `end` with the same values.

        Turns run together as long as they fit into one step. A turn with more tokens than a step runs alone.
        """
        tenant = self._tenants.setdefault(name, _Tenant())
        if not tenant.waiting and not tenant.turns:
            active = [each.counter for each in self._tenants.values() if each.waiting or each.turns]
            tenant.counter = max(tenant.counter, min(active, default=0))
        coming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tenant.waiting.append((tokens, coming))
        self._dispatch()
        try:
            await coming
        except asyncio.CancelledError:
            if coming.done() and not coming.cancelled():
                self.end(name, tokens)  # The turn began in the moment of the cancellation.
            raise

    def end(self, name: str, tokens: int) -> None:
        """End a turn: its tokens are computed, or will never be."""
        self._tenants[name].turns -= 1
        self._tokens -= tokens
        self._dispatch()

    @contextmanager
    def begun(self, name: str, tokens: int) -> Iterator[None]:
        """End a begun turn with the block."""
        try:
            yield
        finally:
            self.end(name, tokens)

    def _dispatch(self) -> None:
        while (tenant := self._next()) is not None:
            tokens, coming = tenant.waiting[0]
            if self._tokens and self._tokens + tokens > self._step_tokens:
                return  # Nobody passes the next tenant, or small prompts would hold up large ones for ever.
            tenant.waiting.popleft()
            self._last_turn += 1
            tenant.last_turn = self._last_turn
            tenant.counter += tokens
            tenant.turns += 1
            self._tokens += tokens
            coming.set_result(None)
        if not self._tokens:
            self._tenants.clear()  # Nobody waits and nothing runs, so no counter matters.

    def _next(self) -> _Tenant | None:
        """Return the least served tenant that waits; of equal ones the one with the oldest last turn."""
        for tenant in self._tenants.values():
            while tenant.waiting and tenant.waiting[0][1].done():
                tenant.waiting.popleft()  # Its caller was cancelled.
        waiting = [each for each in self._tenants.values() if each.waiting]
        return min(waiting, key=lambda each: (each.counter, each.last_turn), default=None)
