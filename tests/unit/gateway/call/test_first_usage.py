"""A client that leaves early pays for the tokens that its engine reports, and its call ends in any case."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finpool.catalogue.model.schemas import TokenUsage
from finpool.gateway.call.first_usage import first_usage
from finpool.metering.spool.schemas import Outcome
from finpool.serving.backend.breaker import BreakerPermit
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.protocols import EngineStream

USED = TokenUsage(9, 0, 1)


class Stream:
    """An engine's stream that fails, or brings a chunk without usage and one with it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure

    async def begun(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield SimpleNamespace(usage=None)
        yield SimpleNamespace(usage=USED)


async def ended(failure: Exception | None) -> tuple[Outcome | None, bool, list[TokenUsage], list[Exception]]:
    counted: list[TokenUsage] = []
    noted: list[Exception] = []
    permit = cast("BreakerPermit", SimpleNamespace(note=noted.append))
    outcome, estimated = await first_usage(cast("EngineStream", Stream(failure)), permit, counted.append)
    return outcome, estimated, counted, noted


async def test_the_first_usage_is_counted() -> None:
    assert await ended(None) == (Outcome.ABORTED, False, [USED], [])


@pytest.mark.parametrize(
    ("failure", "outcome", "estimated", "noted"),
    [
        (EngineRefused("too long"), None, False, False),
        (EngineUnavailable("The model cannot be reached at the moment."), None, False, True),
        (EngineFailed("The model failed to answer."), Outcome.FAILED, False, True),
        (TimeoutError(), Outcome.ABORTED, True, False),
        (RuntimeError("a defect"), Outcome.ABORTED, True, False),
    ],
)
async def test_the_call_ends_whatever_the_engine_does(
    failure: Exception, outcome: Outcome | None, estimated: bool, noted: bool
) -> None:
    assert await ended(failure) == (outcome, estimated, [], [failure] if noted else [])
