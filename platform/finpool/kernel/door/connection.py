"""The client's connection, as an answer sees it: a call at once when the client has left."""

import asyncio
from collections.abc import Callable
from functools import partial

from finpool.kernel.door.ingress import Message, Receive

LEAVING = "finpool.leaving"
"""The extension of the ASGI scope in which a door's HTTP server offers its `Leaving`."""


class Leaving:
    """The call that a door's HTTP server makes once the client has left before its answer was complete."""

    __slots__ = ("call",)

    def __init__(self) -> None:
        self.call: Callable[[], None] | None = None


def call_when_left(scope: Message, receive: Receive, call: Callable[[], None]) -> Callable[[], None]:
    """Call `call` once the client has left; return a function that stops this. The request's body must be read.

    Another server than the doors' own offers no `Leaving`, so a task waits for its message.
    """
    leaving: Leaving | None = scope.get("extensions", {}).get(LEAVING)
    if leaving is not None:
        leaving.call = call
        return partial(setattr, leaving, "call", None)
    waiting = asyncio.ensure_future(_wait_until_left(receive, call))

    def stop() -> None:
        waiting.cancel()

    return stop


async def _wait_until_left(receive: Receive, call: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call()
