"""The end of a version: its engine ends only when nothing is left to do and nobody has asked for the way back."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from model_life import CATALOGUE, MODEL, LifeWriter
from waiting import until

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.node.schemas import Node
from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import Version, VersionState
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings
from finpool.serving.pool import steps as steps_module
from finpool.serving.pool.steps import StepFailed, VersionSteps

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
SETTINGS = Settings(snapshot_age_max_seconds=0.1, queue_timeout_seconds=0.1, engine_drain_seconds=30)


class OneEngine:
    """An engine that runs; it is busy for as long as a test says."""

    def __init__(self, key: str) -> None:
        self.keys = {key}
        self.counted = {"running": 1}
        self.asked = asyncio.Event()
        self.missing: list[str] = []

    async def missing_resources(self, model: Model) -> str | None:
        return self.missing.pop(0) if self.missing else None

    async def deploy(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> None:
        self.keys.add(model.engine_key)

    async def running(self, model: Model) -> bool:
        return model.engine_key in self.keys

    async def deployed(self) -> set[str]:
        return set(self.keys)

    async def nodes(self) -> list[Node]:
        return []

    async def delete(self, key: str) -> None:
        self.keys.discard(key)

    async def figures(self, model: Model, path: str) -> dict[str, int]:
        self.asked.set()
        return dict(self.counted)

    async def is_asked(self, times: int = 1) -> None:
        """Wait until the step has looked so many times whether the engine is idle."""
        for _ in range(times):
            self.asked.clear()
            await self.asked.wait()


class Draining:
    """Version 1 is being drained, and version 2 serves in its place."""

    def __init__(self, database: Callable[[str], Database]) -> None:
        self.database = database
        self.pool = LifeWriter(database)
        self.engine = OneEngine(f"{MODEL}_1")
        self.ended = 0

    async def begin(self) -> "asyncio.Task[None]":
        """Bring both versions there, and begin the step."""
        await self.pool.declare()
        await self.pool.serve("1")
        await self.pool.declare(version="2")
        async with self.database("operator").across_tenants() as session:
            await versions.accept_licence(session, OPERATOR, MODEL, "2", "Apache-2.0")
            await versions.start(session, OPERATOR, MODEL, "2")
        await self.pool.serve("2")
        async with self.database("operator").across_tenants() as session:
            await versions.promote(session, OPERATOR, MODEL, "2")
            version = await versions.retire(session, OPERATOR, MODEL, "1")
        return asyncio.create_task(self.steps().drain(version, version.of(CATALOGUE.get(MODEL)), self._end))

    def steps(self) -> VersionSteps:
        backends: Any = self.engine
        return VersionSteps(SETTINGS, self.database("pool"), backends, self.engine)

    def _end(self) -> None:
        self.ended += 1

    async def version(self) -> Version:
        async with self.database("pool").across_tenants() as session:
            return next(each for each in (await versions.life(session, MODEL)).versions if each.version == "1")

    async def is_retired(self) -> bool:
        return (await self.version()).state is VersionState.RETIRED


@pytest.fixture
async def draining(database: Callable[[str], Database]) -> Draining:
    return Draining(database)


async def test_an_engine_ends_when_it_has_nothing_left_to_do(draining: Draining) -> None:
    step = await draining.begin()
    await draining.engine.is_asked(2)
    assert (draining.engine.keys, draining.ended) == ({f"{MODEL}_1"}, 0)
    draining.engine.counted["running"] = 0
    await step
    assert draining.engine.keys == set()
    assert draining.ended == 1
    assert (await draining.version()).state is VersionState.RETIRED


async def test_an_engine_that_is_asked_back_while_it_is_drained_goes_on(draining: Draining) -> None:
    step = await draining.begin()
    await draining.engine.is_asked()
    async with draining.database("operator").across_tenants() as session:
        await versions.roll_back(session, OPERATOR, MODEL)
    draining.engine.counted["running"] = 0
    await step
    assert (draining.engine.keys, draining.ended) == ({f"{MODEL}_1"}, 0)
    assert (await draining.version()).state is VersionState.SERVING


async def test_a_step_that_is_cancelled_as_it_ends_leaves_nothing_half_done(draining: Draining) -> None:
    step = await draining.begin()
    draining.engine.counted["running"] = 0
    await until(draining.is_retired, "the version is retired")
    step.cancel()
    await asyncio.wait([step])
    await until(lambda: draining.ended and not draining.engine.keys, "the engine ends")
    assert draining.ended == 1


async def test_a_version_that_is_asked_back_waits_for_the_room_of_its_ended_engine(
    draining: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "ensure_weights", lambda *_: None)
    step = await draining.begin()
    draining.engine.counted["running"] = 0
    await step
    async with draining.database("operator").across_tenants() as session:
        await versions.roll_back(session, OPERATOR, MODEL)
    version, model = await draining.version(), CATALOGUE.get(MODEL)
    draining.engine.missing = ["CPU 0 of 2", "CPU 0 of 2"]
    await draining.steps().download(version, version.of(model), print)
    assert (await draining.version()).state is VersionState.TESTING


async def test_a_version_for_which_there_is_no_room_fails_with_the_reason(
    draining: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "ensure_weights", lambda *_: None)
    monkeypatch.setattr(steps_module, "ROOM_SECONDS_MAX", 0.0)
    await draining.pool.declare()
    version = await draining.version()
    draining.engine.missing = ["CPU 0 of 2"]
    with pytest.raises(StepFailed, match="free are CPU 0 of 2"):
        await draining.steps().download(version, version.of(CATALOGUE.get(MODEL)), print)
