"""Replicas of the inference path's quota on one real Postgres, and a clock that they all share."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from quota_replicas import QuotaReplicas, StoppedClock

from finpool.kernel.database.database import Database


@pytest.fixture
def pool(database: Callable[[str], Database]) -> QuotaReplicas:
    return QuotaReplicas(database)


@pytest.fixture
def clock(database: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    """Stop the clocks of every replica."""
    stopped = StoppedClock(database)
    monkeypatch.setattr("finpool.kernel.clock.time", SimpleNamespace(monotonic=stopped.monotonic))
    return stopped


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse at once what a lease on its way back might make room for: nothing is recorded while it would wait.

    The wait is over before it begins, and so it is on a stopped clock too.
    """
    monkeypatch.setattr("finpool.quota.reservation.service.RETURN_WAIT_SECONDS", -1.0)
