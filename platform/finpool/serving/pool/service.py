"""The pool's reconcile loop: it moves every version through its states and keeps the right engines running."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.node import service as node_service
from finpool.catalogue.version import life
from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import ON_THE_POOL, ModelLife, Version, VersionState, on_version
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.changes import ChangeFeed
from finpool.kernel.database.database import Database
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import TenantId
from finpool.kernel.logs import logger
from finpool.serving.pool import background
from finpool.serving.pool.schemas import PoolState
from finpool.serving.pool.steps import FetchFailed, StepFailed, VersionSteps
from finpool.serving.protocols import Engines

TICK_SECONDS = 1.0
NODES_SECONDS = 5.0
RETRY_SECONDS = 10.0
"""The pause before another attempt to start a serving engine that failed to start."""

Step = Callable[[], Awaitable[None]]
_log = logger("serving.pool")


@dataclass(slots=True)
class _Running:
    state: VersionState
    task: asyncio.Task[None]


class Pool:
    """The reconcile loop of one cluster. It makes the engines match the versions' states in the database."""

    def __init__(
        self,
        catalogue: Catalogue,
        database: Database,
        steps: VersionSteps,
        engines: Engines,
        publish: Callable[[PoolState], None],
    ) -> None:
        """Take the parts; `publish` gets the state once every routed engine is up, and after each change."""
        self._models = {model.id: model for model in catalogue.on_pool() if model.base is None}
        self._catalogue = catalogue
        self._database = database
        self._steps = steps
        self._engines = engines
        self._publish = publish
        self._lives: dict[str, ModelLife] = {}
        self._up: dict[str, Model] = {}
        self._running: dict[str, _Running] = {}
        self._progress: dict[str, tuple[Version, str]] = {}
        self._wake = asyncio.Event()
        self._published: PoolState | None = None
        self._fault: str | None = None
        self._nodes_stored_at = -NODES_SECONDS

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Trigger a reconcile after a change of versions or routings."""
        if tenant_id is None:
            self._wake.set()

    async def run(self, stop: asyncio.Event, snapshot_age_max_seconds: float) -> None:
        """Work until `stop`. Raises `ConfigurationError` if a declared model cannot be served at the first start."""
        async with self._database.across_tenants() as session:
            for model in self._models.values():
                await life.declare(session, model, packaged=self._catalogue.packaged)
        feed = ChangeFeed(self._database, [self], snapshot_age_max_seconds)
        await feed.start()
        try:
            while not stop.is_set():
                self._wake.clear()
                await self._reconcile()
                if self._fault is not None and self._published is None:
                    raise ConfigurationError(self._fault)
                await self._wait(stop)
        finally:
            for step in self._running.values():
                step.task.cancel()
            await asyncio.gather(*(step.task for step in self._running.values()), return_exceptions=True)
            await feed.close()

    async def _wait(self, stop: asyncio.Event) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in (stop, self._wake)]
        await asyncio.wait(waiting, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()

    async def _reconcile(self) -> None:
        """Start, continue or cancel the steps that the versions' states require."""
        try:
            # Read now: the change notification of a step that has just ended may not have arrived yet.
            async with self._database.across_tenants() as session:
                self._lives = await versions.lives(session)
            await self._store_progress()
            await self._store_nodes()
            for version, model in self._known():
                step = self._running.get(model.engine_key)
                if step is not None and step.state is not version.state:
                    step.task.cancel()
                elif step is None:
                    await self._begin(version, model)
        except (OSError, SQLAlchemyError) as error:
            _log.warning("the database does not answer; engines keep running", error=type(error).__name__)
        self._publish_state()

    def _known(self) -> Iterator[tuple[Version, Model]]:
        """Yield every version of the models declared here, with the model in that version."""
        for model_id, model in self._models.items():
            for version in self._lives[model_id].versions if model_id in self._lives else ():
                try:
                    yield version, version.of(model)
                except ValueError as error:
                    _log.error("a version does not fit its model", model=model_id, reason=str(error))

    async def _begin(self, version: Version, model: Model) -> None:
        if model.background and self._published is None:
            return
        key, adapters = model.engine_key, [on_version(each, model) for each in self._catalogue.adapters_of(model.id)]
        note = partial(self._note, version)
        if version.state is VersionState.DOWNLOADING:
            self._run(version, model, partial(self._steps.download, version, model, note))
        elif version.state is VersionState.TESTING and not (key in self._up and version.measurements):
            test = partial(self._steps.test, version, model, adapters)
            self._run(version, model, partial(self._up_after, model, test))
        elif version.state is VersionState.TESTING:
            if (latest := self._lives[model.id].latest) is not None and version.version in latest.split:
                async with self._database.across_tenants() as session:
                    await life.serve(session, version)
        elif version.state is VersionState.SERVING and key not in self._up:
            serve = partial(self._steps.serve, version, model, adapters, note)
            self._run(version, model, partial(self._up_after, model, serve))
        elif version.state is VersionState.DRAINING:
            ended = partial(self._up.pop, key, None)
            self._run(version, model, partial(self._steps.drain, version, model, ended))
        elif version.state not in ON_THE_POOL and key in await self._engines.deployed():
            self._up.pop(key, None)
            await self._engines.delete(key)

    def _run(self, version: Version, model: Model, step: Step) -> None:
        _log.info("step", model=model.id, version=version.version, state=version.state.value)
        task = asyncio.create_task(self._watched(version, model, step), name=f"{model.engine_key} {version.state}")
        self._running[model.engine_key] = _Running(version.state, task)

    async def _watched(self, version: Version, model: Model, step: Step) -> None:
        try:
            await self._attempt(version, model, step)
        except (OSError, SQLAlchemyError) as error:
            _log.warning("the database failed a step; the pool retries it", model=model.id, error=type(error).__name__)
            await asyncio.sleep(TICK_SECONDS)
        except Exception:
            _log.exception("a step failed; the pool retries it", model=model.id)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._running[model.engine_key]
            self._progress.pop(model.engine_key, None)
            self._wake.set()

    async def _attempt(self, version: Version, model: Model, step: Step) -> None:
        try:
            await step()
        except StepFailed as failure:
            await self._failed(version, model, failure)

    async def _failed(self, version: Version, model: Model, failure: StepFailed) -> None:
        fault, fetches_again = str(failure), model.background and isinstance(failure, FetchFailed)
        _log.error("a version cannot proceed", model=model.id, version=version.version, reason=fault)
        if version.version in self._routed(model.id) and not model.background:
            self._fault = f"{model.id}: {fault}"
        async with self._database.across_tenants() as session:
            if version.state is VersionState.SERVING or fetches_again:
                await life.store_fault(session, version, fault)
            else:
                await life.fail(session, version, fault)
        if fetches_again:
            await asyncio.sleep(background.FETCH_RETRY_SECONDS)
        elif version.state is VersionState.SERVING:
            await asyncio.sleep(RETRY_SECONDS)

    async def _up_after(self, model: Model, step: Step) -> None:
        await step()
        self._up[model.engine_key] = model

    def _note(self, version: Version, progress: str) -> None:
        """Store the latest progress line; the fetching thread calls this."""
        self._progress[f"{version.model_id}_{version.version}"] = (version, progress)

    async def _store_progress(self) -> None:
        noted, self._progress = self._progress, {}
        for version, progress in noted.values():
            async with self._database.across_tenants() as session:
                await life.store_progress(session, version, progress)

    async def _store_nodes(self) -> None:
        if monotonic_seconds() >= self._nodes_stored_at + NODES_SECONDS:
            self._nodes_stored_at = monotonic_seconds()
            found = await self._engines.nodes()
            async with self._database.across_tenants() as session:
                await node_service.write_nodes(session, found)

    def _routed(self, model_id: str) -> frozenset[str]:
        """Return the versions of a model with a share in the routing in force, or else in the latest one."""
        held = self._lives.get(model_id)
        routing = None if held is None else held.in_force or held.latest
        return frozenset() if routing is None else routing.routed

    def _publish_state(self) -> None:
        """Publish the engines that are up, once every routed one is up, and after each later change.

        Background models are not waited for.
        """
        up = {(model.id, model.version) for model in self._up.values()}
        routed = {model_id: self._routed(model_id) for model_id, model in self._models.items() if not model.background}
        if any(not names or not {(model_id, name) for name in names} <= up for model_id, names in routed.items()):
            return
        if any(self._lives[model_id].in_force is None for model_id in routed):
            return
        paths: dict[str, list[str]] = {}
        for model in self._up.values():
            paths.setdefault(model.id, []).append(model.engine_path)
        sleepers = sorted(model.engine_path for model in self._up.values() if model.engine.may_sleep)
        state = PoolState(paths, sleepers, background.stages(self._models.values(), self._lives, up))
        if state != self._published:
            self._published = state
            self._publish(state)
