"""Waiting for a condition: the one place where tests look, pause and look again."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

SECONDS_MAX = 60.0
PAUSE_SECONDS = 0.01

Found = TypeVar("Found")


@overload
async def until(
    holds: Callable[[], Awaitable[Found | None]], what: str, *, seconds_max: float = ..., pause_seconds: float = ...
) -> Found: ...


@overload
async def until(
    holds: Callable[[], Found | None], what: str, *, seconds_max: float = ..., pause_seconds: float = ...
) -> Found: ...


async def until(
    holds: Callable[[], Any],
    what: str,
    *,
    seconds_max: float = SECONDS_MAX,
    pause_seconds: float = PAUSE_SECONDS,
) -> Any:
    """Return the first true value of `holds`, a function or a coroutine function; fail with `what` after the time."""
    deadline = time.monotonic() + seconds_max
    while True:
        found = holds()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds_max:g} seconds: {what}"
        await asyncio.sleep(pause_seconds)


def until_now(
    holds: Callable[[], Found | None],
    what: str,
    *,
    seconds_max: float = SECONDS_MAX,
    pause_seconds: float = PAUSE_SECONDS,
) -> Found:
    """Do the same outside of an event loop."""
    deadline = time.monotonic() + seconds_max
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds_max:g} seconds: {what}"
        time.sleep(pause_seconds)
    return found
