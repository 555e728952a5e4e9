"""The calls of one process that are not on record yet."""

import asyncio


class OpenCalls:
    """The calls of one process that are not on record yet: the spool may only close when there is none."""

    def __init__(self) -> None:
        self._calls: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, call: object) -> None:
        """Count a call from before it holds anything."""
        self._calls.add(call)
        self._none.clear()

    def discard(self, call: object) -> None:
        """Count it no more: it is on record and holds nothing."""
        self._calls.discard(call)
        if not self._calls:
            self._none.set()

    async def wait_until_none(self) -> None:
        """Wait until every call is on record, those included whose cancellation is still on its way."""
        await self._none.wait()
