"""The shared pool for the tests of this folder, and the gateway's connections to it."""

from collections.abc import AsyncIterator

import pytest
from pool_catalogue import REAL
from shared_pool import Pool

from finpool.catalogue.model.schemas import Model
from finpool.serving.backend.service import Backends


@pytest.fixture
async def pool(shared_pool: Pool) -> Pool:
    """The pool with its real model awake."""
    await shared_pool.wake(REAL)
    return shared_pool


@pytest.fixture
def model(pool: Pool) -> Model:
    return pool.models.get(REAL)


@pytest.fixture
async def backends(shared_pool: Pool) -> AsyncIterator[Backends]:
    backends = Backends(shared_pool.settings)
    await backends.start()
    yield backends
    await backends.close()
