"""A bank's door on real Postgres, before the scripted engine."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from observed_feed import ObservedFeed
from served_bank import ServedBank

from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings


@pytest.fixture
async def bank(
    settings: Settings,
    engine: Any,
    engine_port: int,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    database: Callable[[str], Database],
) -> AsyncIterator[ServedBank]:
    changed = settings.model_copy(update={"serve_url": f"http://127.0.0.1:{engine_port}", "lease_idle_seconds": 0.2})
    monkeypatch.setattr("finpool.apps.inference.ChangeFeed", ObservedFeed)
    opened = ServedBank(changed, engine, operator=database("operator"), worker=database("worker"), door_port=free_port)
    owner = await asyncpg.connect(settings.database_url("owner"))
    await owner.execute("GRANT UPDATE (pending_picos) ON budget TO finpool_inference")
    await owner.close()
    async with opened.open_door():
        yield opened
