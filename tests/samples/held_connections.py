"""The time for which code holds a database connection without a statement: others wait for it meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import greenlet  # type: ignore[import-untyped]
from loop_pauses import place_of
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool
from thread_clock import Reading, ThreadClock

from finpool.kernel.database import database


@dataclass(frozen=True, slots=True)
class Hold:
    """A connection that was held for so long while the database had nothing to do for it."""

    idle_ms: float
    where: str

    def __str__(self) -> str:
        return f"a database connection was held for {self.idle_ms:.1f} ms without a statement, {self.where}"


@dataclass
class _Holds:
    least_ms: float
    clock: ThreadClock
    found: list[Hold] = field(default_factory=list)
    idle_since: dict[int, Reading] = field(default_factory=dict)

    def becomes_idle(self, connection: Any) -> None:
        self.idle_since[id(connection)] = self.clock.read()

    def is_used(self, connection: Any) -> None:
        since = self.idle_since.pop(id(connection), None)
        if since is None:
            return
        now = self.clock.read()
        idle_ms = (now.at_ns - since.at_ns - (now.preempted_ns - since.preempted_ns)) / 1e6
        if idle_ms >= self.least_ms:
            self.found.append(Hold(idle_ms, place_of(_caller(), __file__, database.__file__)))


def _caller() -> FrameType | None:
    """Return the frame of the code that awaits the database; SQLAlchemy runs in a greenlet of its own."""
    parent = greenlet.getcurrent().parent
    return parent.gr_frame if parent is not None and parent.gr_frame is not None else sys._getframe(1)


@contextmanager
def held_connections(least_ms: float) -> Iterator[list[Hold]]:
    """Collect the holds of at least `least_ms`, by any pool of this thread, until the block ends."""
    holds = _Holds(least_ms, ThreadClock())

    def checked_out(connection: Any, *_: Any) -> None:
        holds.becomes_idle(connection)

    def given_back(connection: Any, *_: Any) -> None:
        holds.is_used(connection)

    def statement(connection: Any, *_: Any) -> None:
        holds.is_used(connection.connection.dbapi_connection)

    def answered(connection: Any, *_: Any) -> None:
        holds.becomes_idle(connection.connection.dbapi_connection)

    listeners = [
        (Pool, "checkout", checked_out),
        (Pool, "checkin", given_back),
        (Engine, "before_cursor_execute", statement),
        (Engine, "after_cursor_execute", answered),
        (Engine, "commit", statement),
        (Engine, "rollback", statement),
    ]
    for target, name, listener in listeners:
        event.listen(target, name, listener)
    try:
        yield holds.found
    finally:
        for target, name, listener in listeners:
            event.remove(target, name, listener)
        holds.clock.close()
