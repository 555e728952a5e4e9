"""The transaction of one request: it takes a fair share of the pool, and ends before its answer is computed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

_ENDING = "finpool.ending"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@asynccontextmanager
async def lent(
    seat: AbstractAsyncContextManager[None], transaction: AbstractAsyncContextManager[AsyncSession]
) -> AsyncIterator[AsyncSession]:
    """Open a transaction on a seat of the pool; both end at `give_back`, or here at the latest."""
    async with AsyncExitStack() as ending:
        await ending.enter_async_context(seat)
        session = await ending.enter_async_context(transaction)
        session.info[_ENDING] = ending
        yield session


async def give_back(session: AsyncSession) -> None:
    """Commit a request's transaction and give its connection to the next request; call this before you compute."""
    ending: AsyncExitStack = session.info[_ENDING]
    await ending.aclose()


def gives_back(endpoint: Endpoint) -> Endpoint:
    """Return a route's function that gives its connection back before the framework serialises what it returns."""
    names = [name for name, each in signature(endpoint).parameters.items() if _is_session(each.annotation)]
    if not names:
        return endpoint

    @wraps(endpoint)
    async def ended(*args: Any, **kwargs: Any) -> Any:
        answer = await endpoint(*args, **kwargs)
        for name in names:
            await give_back(kwargs[name])
        return answer

    return ended  # type: ignore[return-value]


def _is_session(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", annotation) is AsyncSession
