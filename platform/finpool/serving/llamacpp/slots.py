"""The slots of llama.cpp: each request says its own, so that no other request finds a half computed prompt there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """The free slots, given in the order of the requests. Not thread-safe.

    A request with several choices needs as many slots. While the first one in the queue waits for them, only a tenant
    without a slot passes it.
    """

    def __init__(self, count: int) -> None:
        self._free = set(range(count))
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.Future[list[int]]]] = []

    @asynccontextmanager
    async def taken(self, tenant: str, count: int) -> AsyncIterator[int]:
        """Wait for `count` slots and hold them within the block; yield the one of the prompt.

        llama.cpp puts the other choices into the lowest idle slots, so these are theirs, and one choice takes the
        highest.
        """
        coming: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, count, coming))
        self._dispatch()
        try:
            yield (await coming)[-1]
        finally:
            if coming.done() and not coming.cancelled():
                self._free.update(coming.result())
                self._held[tenant] -= count
                self._held += Counter()  # Drop tenants without slots.
            self._dispatch()

    def _dispatch(self) -> None:
        self._waiting = [each for each in self._waiting if not each[2].done()]
        blocked = False
        for tenant, count, coming in self._waiting:
            if count > len(self._free):
                blocked = True
            elif not blocked or (count == 1 and not self._held[tenant]):
                ordered = sorted(self._free, reverse=count == 1)
                self._free.difference_update(ordered[:count])
                self._held[tenant] += count
                coming.set_result(ordered[:count])


class PartialPrompts:
    """The prompts that are partly computed, which lie in idle slots between two steps.

    llama.cpp chooses idle slots for the further choices of a request. So a request with several choices begins only
    while no other prompt is partly computed. Both kinds enter in the order of their arrival (a turnstile).
    """

    def __init__(self) -> None:
        self._turnstile = asyncio.Lock()
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    async def enter(self) -> None:
        """Begin a prompt of one choice; the caller leaves by `leave`."""
        async with self._turnstile:
            self._count += 1
            self._none.clear()

    def leave(self) -> None:
        """End a prompt of one choice: the engine has begun its last step."""
        self._count -= 1
        if not self._count:
            self._none.set()

    async def enter_alone(self) -> None:
        """Begin a prompt of several choices; the caller leaves by `leave_alone`."""
        await self._turnstile.acquire()
        try:
            await self._none.wait()
        except asyncio.CancelledError:
            self._turnstile.release()
            raise

    def leave_alone(self) -> None:
        """End a prompt of several choices."""
        self._turnstile.release()
