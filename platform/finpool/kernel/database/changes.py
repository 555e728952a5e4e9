"""Snapshots of tables in memory. Postgres notifies each change, so the hot path never reads the database."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import asyncpg
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.collector import exempt_new_objects
from finpool.kernel.database.database import CHANGES_CHANNEL, Database
from finpool.kernel.errors import ConfigurationError, InvalidRequest, Unavailable
from finpool.kernel.ids import TenantId, slug
from finpool.kernel.logs import logger

_log = logger("kernel.changes")
_ANSWER_SECONDS_MAX = 5.0
CHECK_SECONDS_MAX = 5.0
_CHECKS_WITHIN_AGE = 3
"""Idle checks of the database per `age_max_seconds`; the snapshot stays fresh if one answer is late."""

_RECONNECT_SECONDS = 0.5
_START_SECONDS_MAX = 30.0
_RELOAD_SECONDS_MAX = 30.0
_RELOADED_ONE_BY_ONE_MAX = 32


class Snapshot(Protocol):
    """A domain's copy of its tables in memory."""

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's rows again, or all rows for None; replace the copy only after every row is read."""


class SnapshotTooOld(Unavailable):
    """The last answer of the database is too old. A revocation may be missing, so no request is admitted."""

    code = "snapshot_too_old"


class ChangeFeed:
    """A task that reloads the changed snapshots in order; after a lost connection it reloads all rows."""

    def __init__(self, database: Database, snapshots: Sequence[Snapshot], age_max_seconds: float) -> None:
        self._database = database
        self._snapshots = snapshots
        self._age_max_seconds = age_max_seconds
        self._check_seconds = min(CHECK_SECONDS_MAX, age_max_seconds / _CHECKS_WITHIN_AGE)
        self._answered_at: float | None = None
        # A set: several changes of one tenant during a reload cause one further reload.
        self._changed: set[TenantId | None] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Load all snapshots and start to listen; return once the first load is complete.

        Raises `ConfigurationError` if the first load is not complete within `_START_SECONDS_MAX`.
        """
        self._task = asyncio.create_task(self._run(), name="change-feed")
        try:
            async with asyncio.timeout(_START_SECONDS_MAX):
                await self._ready.wait()
        except TimeoutError:
            await self.close()
            raise ConfigurationError("the database could not be read; the log says why") from None

    async def close(self) -> None:
        """Stop listening and wait for the task to end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def require_fresh(self) -> None:
        """Raise `SnapshotTooOld` unless the database answered within the last `age_max_seconds`."""
        answered_at = self._answered_at
        if answered_at is None or monotonic_seconds() - answered_at > self._age_max_seconds:
            raise SnapshotTooOld("Keys and policy could not be refreshed in time; try again shortly.")

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                _log.warning("change feed lost its connection", error=type(error).__name__)
            except Exception:
                _log.exception("change feed failed; reloading")
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await self._database.connect(_ANSWER_SECONDS_MAX)
        # Wake the feed when the connection ends, so that it reconnects and reloads at once.
        connection.add_termination_listener(lambda _: self._wake.set())
        try:
            await connection.add_listener(CHANGES_CHANNEL, self._on_change)
            await self._reload(None)
            self._ready.set()
            while not connection.is_closed():
                await self._next_change(connection)
        finally:
            connection.terminate()

    async def _next_change(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        try:
            async with asyncio.timeout(self._check_seconds):
                await self._wake.wait()
        except TimeoutError:
            answered_at = monotonic_seconds()
            await connection.execute("SELECT 1", timeout=_ANSWER_SECONDS_MAX)
            self._answered_at = answered_at
            return
        self._wake.clear()
        changed, self._changed = self._changed, set()
        if None in changed or len(changed) > _RELOADED_ONE_BY_ONE_MAX:
            await self._reload(None)
            return
        for tenant_id in changed:
            await self._reload(tenant_id)

    def _on_change(self, *notification: object) -> None:
        self._changed.add(_changed_tenant(notification[-1]))
        self._wake.set()

    async def _reload(self, tenant_id: TenantId | None) -> None:
        started = monotonic_seconds()
        async with asyncio.timeout(_RELOAD_SECONDS_MAX), self._database.across_tenants() as session:
            for snapshot in self._snapshots:
                await snapshot.load(session, tenant_id)
        if tenant_id is None:
            exempt_new_objects()
        self._answered_at = started


def _changed_tenant(payload: object) -> TenantId | None:
    """Return the tenant that a notification names, or None for all: any role may send one that names nothing."""
    try:
        return TenantId(slug(orjson.loads(str(payload))["tenant_id"], param="tenant_id"))
    except (ValueError, LookupError, TypeError, InvalidRequest):
        return None
