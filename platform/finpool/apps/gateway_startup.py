"""The start of the gateway once the spool is usable; until then only requests for inference are refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.datastructures import State

from finpool.gateway.service import Gateway
from finpool.kernel.logs import logger
from finpool.metering.errors import SpoolUnavailable, SpoolUnusable
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.spool import Spool

_log = logger("apps.gateway_startup")
_RETRY_SECONDS = 2.0

OpenGateway = Callable[[], AbstractAsyncContextManager[tuple[Gateway, Spool]]]
"""Opens the gateway and the spool; raises `SpoolUnusable` if the spool's file cannot be used."""


@asynccontextmanager
async def opened_when_usable(open_gateway: OpenGateway, spool_directory: Path, state: State) -> AsyncIterator[None]:
    """Put the gateway and its spool into the app's state, at once or as soon as the spool is usable.

    Until then `state.gateway` is None: requests for inference get a 503 with the reason; banks still see their usage.
    If the process ended instead, it would restart in a loop and answer no request. A repaired spool is used at once.
    """
    state.gateway = state.spool = None
    async with AsyncExitStack() as stack:
        retrying: asyncio.Task[None] | None = None
        try:
            state.gateway, state.spool = await stack.enter_async_context(open_gateway())
        except SpoolUnusable as error:
            _log.error("nothing is served until the spool can be used", error=str(error), commands=spool_file.COMMANDS)
            retrying = asyncio.create_task(_open_later(open_gateway, spool_directory, state, stack), name="startup")
        try:
            yield
        finally:
            if retrying is not None:
                retrying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await retrying


async def spool_takes_work(state: State) -> bool:
    """Tell whether new requests can be recorded in the spool."""
    spool: Spool | None = state.spool
    try:
        if spool is not None:
            await spool.require_open()
    except SpoolUnavailable:
        return False
    return spool is not None


async def _open_later(open_gateway: OpenGateway, spool_directory: Path, state: State, stack: AsyncExitStack) -> None:
    while True:
        await asyncio.sleep(_RETRY_SECONDS)
        try:
            await asyncio.to_thread(spool_file.verify, spool_directory)
            state.gateway, state.spool = await stack.enter_async_context(open_gateway())
        except SpoolUnusable:
            continue
        except Exception:  # Another failure may pass as well; until then the answer is a 503.
            _log.exception("the spool can be read again, but nothing could be served with it yet")
            continue
        _log.info("the spool can be used again")
        return
