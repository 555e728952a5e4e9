"""The steps of one version's life on the pool. Each can be cancelled, and begun again, at any time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.node.schemas import Node
from finpool.catalogue.version import life
from finpool.catalogue.version.schemas import Version, VersionState
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.clock import monotonic_seconds, now
from finpool.kernel.database import Database
from finpool.kernel.errors import DomainError
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed
from finpool.serving.pool.acceptance_test import AcceptanceFailed, AcceptanceTest

POLL_SECONDS = 0.25
IDLE_ANSWERS = 3
"""So many times in a row an engine has to say that it generates nothing before it is taken to be idle."""


class Engines(Protocol):
    """Where engines run; `ray_engines.RayEngines` is the one there is."""

    async def missing_resources(self, model: Model) -> str | None:
        """Say what there is too little of for one more engine of `model`; None if it fits."""

    async def deploy(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> None:
        """Have the engine started, if it is not; or asleep, if it may sleep and nobody needs it yet."""

    async def running(self, model: Model) -> bool:
        """Tell whether the engine is there; raises `EngineFailed` with why it cannot start."""

    async def deployed(self) -> set[str]:
        """Return the keys of the engines that were deployed and have not ended."""

    async def nodes(self) -> list[Node]:
        """Return what the nodes have and what of it is free."""

    async def delete(self, key: str) -> None:
        """Begin to end an engine."""


class StepFailed(Exception):
    """The version cannot go on; the message is for whoever operates the pool."""


class VersionSteps:
    """What the pool does for a version, by its state."""

    def __init__(self, settings: Settings, database: Database, backends: Backends, engines: Engines) -> None:
        self._settings = settings
        self._database = database
        self._backends = backends
        self._engines = engines
        self._one_trial = asyncio.Lock()

    async def download(self, version: Version, model: Model, progress: Callable[[str], None]) -> None:
        """Fetch and verify the weights, and go on to the test if the pool has room. Raises `StepFailed`."""
        await self._fetch(model, progress)
        if missing := await self._engines.missing_resources(model):
            raise StepFailed(f"it does not fit into the pool: free are {missing}")
        async with self._database.across_tenants() as session:
            await life.move(session, version, VersionState.TESTING, measurements=None, fault=None)

    async def test(self, version: Version, model: Model, adapters: Sequence[Model]) -> None:
        """Start the engine, test the version once and keep what was measured. Raises `StepFailed`."""
        load_ms = await self._start(model, adapters, asleep=False)
        if version.measurements is not None:
            return
        try:
            async with self._one_trial:  # Two at a time would measure each other.
                measurements = await AcceptanceTest(self._backends, model).run(load_ms=load_ms)
        except AcceptanceFailed as error:
            raise StepFailed(str(error)) from error
        async with self._database.across_tenants() as session:
            await life.passed(session, version, measurements)

    async def serve(
        self, version: Version, model: Model, adapters: Sequence[Model], progress: Callable[[str], None]
    ) -> None:
        """Have the engine of a version that serves. Raises `StepFailed`."""
        await self._fetch(model, progress)
        await self._start(model, adapters, asleep=version.measurements is not None and model.engine.may_sleep)
        if version.fault is not None:
            async with self._database.across_tenants() as session:
                await life.tell_fault(session, version, None)

    async def drain(self, version: Version, model: Model, ended: Callable[[], object]) -> None:
        """Let a version finish what it answers, end its engine and retire it.

        Every gateway has to hear that it is not asked any more, and what waits there for a turn has to be through:
        only then can an engine without work be taken to have none to come. It is retired before its engine ends, so
        that a way back that is asked for in the same moment finds an engine that works, or has one started.
        """
        if model.engine_key in await self._engines.deployed():
            heard_seconds = self._settings.snapshot_age_max_seconds + self._settings.queue_timeout_seconds
            await asyncio.sleep(heard_seconds - (now() - version.changed_at).total_seconds())
            await self._idle(model)
        # From here on nothing may be left half done: the new state itself would have this step cancelled.
        await asyncio.shield(self._end(version, model, ended))

    async def _end(self, version: Version, model: Model, ended: Callable[[], object]) -> None:
        async with self._database.across_tenants() as session:
            retired = await life.move(session, version, VersionState.RETIRED)
        if retired:
            ended()
            await self._engines.delete(model.engine_key)

    async def _fetch(self, model: Model, progress: Callable[[str], None]) -> None:
        try:
            await asyncio.to_thread(ensure_weights, model, self._settings, progress)
        except WeightsUnavailable as error:
            raise StepFailed(str(error)) from error

    async def _start(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> int:
        """Start the engine and wait until it answers, or sleeps; returns how many milliseconds that took."""
        started = monotonic_seconds()
        try:
            await self._engines.deploy(model, adapters, asleep=asleep)
            await _until(partial(self._engines.running, model))
        except (EngineFailed, ValueError) as error:
            raise StepFailed(f"its engine does not start: {error}") from error
        load_ms = round(1000 * (monotonic_seconds() - started))
        try:
            async with asyncio.timeout(self._settings.engine_start_timeout_seconds):
                await _until(partial(self._backends.ready, model))  # Serve's proxy learns of it a little later.
        except TimeoutError as error:
            raise StepFailed("its engine started and does not answer") from error
        return load_ms

    async def _idle(self, model: Model) -> None:
        """Wait until the engine generates nothing, but not for ever."""
        by = monotonic_seconds() + self._settings.engine_drain_seconds
        idle = 0
        while idle < IDLE_ANSWERS and monotonic_seconds() < by:
            try:
                counted = await self._backends.figures(model, "/usage")
            except DomainError:
                return  # It has ended by itself, so nothing is left to wait for.
            idle = idle + 1 if counted["running"] == 0 else 0
            await asyncio.sleep(POLL_SECONDS)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(POLL_SECONDS)
