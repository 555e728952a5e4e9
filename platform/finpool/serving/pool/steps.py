"""The steps of one version's life on the pool. Each may be cancelled and restarted at any time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from finpool.catalogue.errors import WeightsDiffer, WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.version import life
from finpool.catalogue.version.schemas import Version, VersionState
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.clock import monotonic_seconds, now
from finpool.kernel.database.database import Database
from finpool.kernel.errors import DomainError
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed
from finpool.serving.pool.acceptance_test import AcceptanceFailed, AcceptanceTest
from finpool.serving.protocols import Engines

POLL_SECONDS = 0.25
ROOM_SECONDS_MAX = 20.0
IDLE_ANSWERS = 3
"""The number of idle reports in a row after which an engine counts as idle."""


class StepFailed(Exception):
    """The version cannot proceed; the message is for the operators of the pool."""


class FetchFailed(StepFailed):
    """The weights could not be fetched; a later attempt may succeed."""


class VersionSteps:
    """The steps of a version on the pool, one for each state."""

    def __init__(self, settings: Settings, database: Database, backends: Backends, engines: Engines) -> None:
        self._settings = settings
        self._database = database
        self._backends = backends
        self._engines = engines
        self._one_test = asyncio.Lock()

    async def download(self, version: Version, model: Model, progress: Callable[[str], None]) -> None:
        """Fetch and verify the weights, then move to `testing` if the pool has room. Raises `StepFailed`."""
        await self._fetch(model, progress)
        await self._require_room(model)
        async with self._database.across_tenants() as session:
            await life.move(session, version, VersionState.TESTING, measurements=None, fault=None)

    async def test(self, version: Version, model: Model, adapters: Sequence[Model]) -> None:
        """Start the engine, test the version once and store the measurements. Raises `StepFailed`."""
        load_ms = await self._start(model, adapters, asleep=False)
        if version.measurements is not None:
            return
        try:
            async with self._one_test:  # Two tests at a time would slow each other down.
                measurements = await AcceptanceTest(self._backends, model).run(load_ms=load_ms)
        except AcceptanceFailed as error:
            raise StepFailed(str(error)) from error
        async with self._database.across_tenants() as session:
            await life.passed(session, version, measurements)

    async def serve(
        self, version: Version, model: Model, adapters: Sequence[Model], progress: Callable[[str], None]
    ) -> None:
        """Start the engine of a serving version. Raises `StepFailed`."""
        await self._fetch(model, progress)
        await self._start(model, adapters, asleep=version.measurements is not None and model.engine.may_sleep)
        if version.fault is not None:
            async with self._database.across_tenants() as session:
                await life.store_fault(session, version, None)

    async def drain(self, version: Version, model: Model, ended: Callable[[], object]) -> None:
        """Let a version finish its answers, retire it and end its engine.

        First every gateway must learn that the version has no share, and its queued requests must end. Only then does
        an idle engine stay idle. The version is retired before its engine ends. So a rollback in the same moment
        finds a running engine, or starts one.
        """
        if model.engine_key in await self._engines.deployed():
            heard_seconds = self._settings.snapshot_age_max_seconds + self._settings.queue_timeout_seconds
            await asyncio.sleep(heard_seconds - (now() - version.changed_at).total_seconds())
            await self._idle(model)
        # From here on no cancellation may interrupt: the new state itself would cancel this step.
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
        except WeightsDiffer as error:
            raise StepFailed(str(error)) from error
        except WeightsUnavailable as error:
            raise FetchFailed(str(error)) from error

    async def _require_room(self, model: Model) -> None:
        """Wait until the pool has room: Ray frees an ended engine's resources seconds after its end."""
        by = monotonic_seconds() + ROOM_SECONDS_MAX
        while missing := await self._engines.missing_resources(model):
            if monotonic_seconds() >= by:
                raise StepFailed(f"it does not fit into the pool: free are {missing}")
            await asyncio.sleep(POLL_SECONDS)

    async def _start(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> int:
        """Start the engine and wait until it answers or sleeps; return the load time in milliseconds."""
        started = monotonic_seconds()
        try:
            await self._engines.deploy(model, adapters, asleep=asleep)
            await _until(partial(self._engines.running, model))
        except (EngineFailed, ValueError) as error:
            raise StepFailed(f"its engine does not start: {error}") from error
        load_ms = round(1000 * (monotonic_seconds() - started))
        try:
            async with asyncio.timeout(self._settings.engine_start_timeout_seconds):
                await _until(partial(self._backends.ready, model))  # Serve's proxy learns of the engine a little later.
        except TimeoutError as error:
            raise StepFailed("its engine started and does not answer") from error
        return load_ms

    async def _idle(self, model: Model) -> None:
        """Wait until the engine has no running request, for at most `engine_drain_seconds`."""
        by = monotonic_seconds() + self._settings.engine_drain_seconds
        idle = 0
        while idle < IDLE_ANSWERS and monotonic_seconds() < by:
            try:
                counted = await self._backends.figures(model, "/usage")
            except DomainError:
                return  # The engine has ended already.
            idle = idle + 1 if counted["running"] == 0 else 0
            await asyncio.sleep(POLL_SECONDS)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(POLL_SECONDS)
