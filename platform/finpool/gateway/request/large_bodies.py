"""The parsing of large bodies: off the event loop, one at a time for each tenant, within its share of the processor.

Python runs one thread at a time, so a thread that parses slows the loop as well. Meanwhile the threads change more
often, and no tenant may use more than a fourth of a processor for long.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from finpool.gateway.errors import LargeBodiesExceeded
from finpool.gateway.request.processor_time import limited_processor_time
from finpool.kernel.ids import TenantId

Parsed = TypeVar("Parsed")

THREADS = 2
WAITING_MAX = 16
"""Large bodies of one tenant that wait for their turn."""

SHARE = 0.25
"""The part of a processor that one tenant's large bodies may use for long."""

SAVED_SECONDS_MAX = 2.0
"""Processor time that a tenant may use at once after a rest."""

SWITCH_SECONDS = 0.0005
"""How soon the parsing thread makes way for the loop; Python's own 5 milliseconds would delay each turn of the loop."""


class _Allowance:
    """The processor time that a tenant has left, as a token bucket."""

    def __init__(self, now: float) -> None:
        self.left_seconds = SAVED_SECONDS_MAX
        self._at = now

    def refill(self, now: float) -> None:
        self.left_seconds = min(SAVED_SECONDS_MAX, self.left_seconds + (now - self._at) * SHARE)
        self._at = now

    def seconds_until_some(self) -> float:
        return max(0.0, -self.left_seconds) / SHARE


class LargeBodies:
    """The large bodies of one process."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        thread_seconds: Callable[[], float] = time.thread_time,
    ) -> None:
        self._now = now
        self._thread_seconds = thread_seconds
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="intake")
        self._allowances: dict[TenantId, _Allowance] = {}
        self._turns: dict[TenantId, asyncio.Lock] = {}
        self._waiting: Counter[TenantId] = Counter()
        self._switch_seconds = 0.0
        self._under_way = 0

    async def parsed(self, tenant: TenantId, body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
        """Parse a body with `parse` and raise its errors, or raise `LargeBodiesExceeded`.

        The processor time counts for the tenant, whether or not the body is valid.
        """
        if self._waiting[tenant] >= WAITING_MAX:
            raise LargeBodiesExceeded("Too many large requests of this tenant wait to be read.", 1.0)
        self._waiting[tenant] += 1
        try:
            async with self._turns.setdefault(tenant, asyncio.Lock()):
                self._require_allowance(tenant)
                return await self._in_thread(tenant, body, parse)
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant], self._turns[tenant]

    def _require_allowance(self, tenant: TenantId) -> None:
        allowance = self._allowances.setdefault(tenant, _Allowance(self._now()))
        allowance.refill(self._now())
        if allowance.left_seconds < 0:
            raise LargeBodiesExceeded(
                "This tenant's large requests have used their share of the processor.", allowance.seconds_until_some()
            )

    async def _in_thread(self, tenant: TenantId, body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
        used = 0.0

        def measured() -> Parsed:
            nonlocal used
            began = self._thread_seconds()
            try:
                with limited_processor_time():
                    return parse(body)
            finally:
                used = self._thread_seconds() - began

        self._switch_often()
        parsing = asyncio.get_running_loop().run_in_executor(self._threads, measured)
        try:
            # A thread cannot be stopped: a client that leaves does not give its tenant a second one.
            await asyncio.wait([parsing])
        finally:
            if not parsing.done():
                await _ended(parsing)
            self._switch_as_before()
            self._allowances[tenant].left_seconds -= used
        return parsing.result()

    def _switch_often(self) -> None:
        if not self._under_way:
            self._switch_seconds = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_SECONDS, self._switch_seconds))
        self._under_way += 1

    def _switch_as_before(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            sys.setswitchinterval(self._switch_seconds)


async def _ended(parsing: "asyncio.Future[Parsed]") -> None:
    """Wait for the end of a thread's work; a task that is cancelled again waits all the same."""
    while not parsing.done():
        try:
            await asyncio.wait([parsing])
        except asyncio.CancelledError:
            continue
    parsing.exception()
