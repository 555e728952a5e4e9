"""Notes each answer that was made while its request held a connection of a pool.

An answer is made last, so a connection that is held then was held while the answer was computed and serialised.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from starlette.responses import Response


class HeldConnections:
    """The connections that are out of their pools, by the task that took them."""

    faults: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self._holders: dict[Any, asyncio.Task[Any] | None] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch every pool and every answer of this process."""
        event.listen(Pool, "checkout", self._taken)
        event.listen(Pool, "checkin", self._given_back)
        make = Response.__init__

        @wraps(make)
        def checked(response: Response, *args: Any, **kwargs: Any) -> None:
            make(response, *args, **kwargs)
            if self.held_here():
                self.faults.append(f"an answer of {len(response.body)} bytes was made while a connection was held")

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("starlette.responses.Response.__init__", checked)
                yield
        finally:
            event.remove(Pool, "checkout", self._taken)
            event.remove(Pool, "checkin", self._given_back)

    def held_here(self) -> int:
        """Return the number of connections that the current task holds."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return 0
        return 0 if task is None else sum(holder is task for holder in self._holders.values())

    def _taken(self, _: Any, record: Any, __: Any) -> None:
        self._holders[record] = asyncio.current_task()

    def _given_back(self, _: Any, record: Any) -> None:
        self._holders.pop(record, None)
