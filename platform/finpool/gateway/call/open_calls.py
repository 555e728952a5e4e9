"""The calls of one process that are not recorded yet."""

import asyncio


class OpenCalls:
    """The unrecorded calls of one process; the spool may close only after the last one."""

    def __init__(self) -> None:
        self._calls: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, call: object) -> None:
        """Add a call, before it holds anything."""
        self._calls.add(call)
        self._none.clear()

    def discard(self, call: object) -> None:
        """Remove a recorded call, which holds nothing."""
        self._calls.discard(call)
        if not self._calls:
            self._none.set()

    async def wait_until_none(self) -> None:
        """Wait until every call is recorded, also those whose cancellation is still pending."""
        await self._none.wait()
