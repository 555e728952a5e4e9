"""Opens the gateway once the spool can be used; until then requests for inference are refused, and nothing else is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.datastructures import State

from finpool.gateway.service import Gateway
from finpool.kernel.logs import logger
from finpool.metering.errors import SpoolUnavailable, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.spool import Spool

_log = logger("apps.gateway_startup")
_RETRY_SECONDS = 2.0

Parts = Callable[[], AbstractAsyncContextManager[tuple[Gateway, Spool]]]
"""Opens what serves requests; raises `SpoolUnusable` if the spool's file cannot be used."""


class ClosedGateway:
    """Stands where the gateway will be: whatever is asked of it is refused."""

    def __getattr__(self, name: str) -> Any:
        """Raise `SpoolUnavailable` in the place of any method."""
        raise SpoolUnavailable("This replica's spool cannot be used; an operator has to repair it or free its volume.")


@asynccontextmanager
async def opened_when_usable(parts: Parts, spool_directory: Path, state: State) -> AsyncIterator[None]:
    """Put the gateway and its spool into the app's state, at once or as soon as the spool can be used.

    A process that ended instead would be started again and again, and answer nobody: here clients get a 503 that
    says why, a bank still sees its usage, and a spool that was repaired is served with at once.
    """
    state.gateway, state.spool = ClosedGateway(), None
    async with AsyncExitStack() as stack:
        opening: asyncio.Task[None] | None = None
        try:
            state.gateway, state.spool = await stack.enter_async_context(parts())
        except SpoolUnusable as error:
            _log.error("nothing is served until the spool can be used", error=str(error), commands=spool_file.COMMANDS)
            opening = asyncio.create_task(_open_later(parts, spool_directory, state, stack), name="opening")
        try:
            yield
        finally:
            if opening is not None:
                opening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await opening


async def spool_takes_work(state: State) -> bool:
    """Tell whether new requests can be put on record."""
    spool: Spool | None = state.spool
    try:
        if spool is not None:
            await spool.require_open()
    except SpoolUnavailable:
        return False
    return spool is not None


async def _open_later(parts: Parts, spool_directory: Path, state: State, stack: AsyncExitStack) -> None:
    while True:
        await asyncio.sleep(_RETRY_SECONDS)
        try:
            await asyncio.to_thread(spool_file.verify, spool_directory)
            state.gateway, state.spool = await stack.enter_async_context(parts())
        except SpoolUnusable:
            continue
        except Exception:  # Whatever else keeps it closed may pass as well, and a 503 is the answer until it does.
            _log.exception("the spool can be read again, but nothing could be served with it yet")
            continue
        _log.info("the spool can be used again")
        return
