"""A task that reads the freshness of the log for the metrics, in a process that does not write the log itself."""

import asyncio
import contextlib

from finpool.audit.freshness import freshness
from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.kernel import telemetry
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.logs import logger

_log = logger("audit.freshness")
_READ_SECONDS = 15.0
_ANSWER_SECONDS_MAX = 5.0


class FreshnessWatch:
    """The last known freshness; its ages grow while the database does not answer."""

    def __init__(self, database: Database, waiting_seconds_max: float) -> None:
        self._database = database
        self._waiting_seconds_max = waiting_seconds_max
        self._found: LogFreshnessView | None = None
        self._read_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read, and export what was read."""
        telemetry.observe_log(self.values)
        self._task = asyncio.create_task(self._run(), name="freshness-watch")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def read(self) -> None:
        """Read the freshness once; a log that is not fresh any more, or is so again, is one line."""
        async with asyncio.timeout(_ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
            found = await freshness(session, self._waiting_seconds_max)
        was_fresh = self._found is None or self._found.is_fresh
        self._found, self._read_at = found, monotonic_seconds()
        if was_fresh and not found.is_fresh:
            _log.error("the audit log is not fresh", reason="; ".join(found.faults))
        elif found.is_fresh and not was_fresh:
            _log.info("the audit log is fresh again")

    def values(self) -> dict[str, float]:
        """Return the metrics by name: ages in seconds as of now, and the number of events in quarantine."""
        found = self._found
        if found is None:
            return {}
        since = monotonic_seconds() - self._read_at
        values: dict[str, float] = {telemetry.EVENTS_QUARANTINED: found.quarantined, telemetry.OLDEST_EVENT_AGE: 0.0}
        if found.oldest_waiting_seconds is not None:
            values[telemetry.OLDEST_EVENT_AGE] = found.oldest_waiting_seconds + since
        if found.last_entry_seconds is not None:
            values[telemetry.LAST_ENTRY_AGE] = found.last_entry_seconds + since
        return values

    async def _run(self) -> None:
        while True:
            try:
                await self.read()
            except Exception as error:
                _log.warning("the freshness of the audit log is not known", error=type(error).__name__)
            await asyncio.sleep(_READ_SECONDS)
