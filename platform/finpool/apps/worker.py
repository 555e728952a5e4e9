"""The worker: the recorder moves the spool into Postgres, the sequencer moves the outbox into the audit log."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from finpool.audit.sequencer import Sequencer
from finpool.gateway.idempotency.purge import PAUSE_SECONDS, purge_expired
from finpool.kernel import telemetry
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId
from finpool.kernel.log_output import LogRotation
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.metering.errors import SpoolUnusable
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.lag import read_lag

# Usage refers to tenants by a foreign key, which SQLAlchemy resolves only to imported tables.
from finpool.tenancy import models  # noqa: F401

_log = logger("apps.worker")
_RETRY_SECONDS = 0.5
_RETRY_FACTOR_MAX = 8
_DRAIN_SECONDS_MAX = 10.0


def main(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; then record the rest of the spool, for at most `_DRAIN_SECONDS_MAX`."""
    configure_logs(settings.log_level, "worker", LogRotation(settings.log_path, settings.log_bytes_max))
    with telemetry.exported_telemetry("worker", settings.otlp_endpoint):
        asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = Database(settings.database_url("worker"), settings.database_pool_connections_max)
    recorder = Recorder(database, settings.spool_path, ReplicaId(settings.replica_id))
    sequencer = Sequencer(database)
    telemetry.observe_lag(lambda: lag_of(settings.spool_path))
    _log.info("worker started")
    rounds = asyncio.gather(
        _repeat(recorder.run_once, settings.recorder_interval_seconds, stop),
        _repeat(sequencer.run_once, settings.recorder_interval_seconds, stop),
        _repeat(partial(purge_expired, database), PAUSE_SECONDS, stop),
    )
    try:
        await stop.wait()
        await _drain(rounds, recorder.run_once, sequencer.run_once)
    finally:
        recorder.close()
        await database.close()


def lag_of(spool_directory: Path) -> tuple[int, float] | None:
    """Return the number of waiting records and the oldest one's age in seconds, or None for an unreadable spool."""
    try:
        lag = read_lag(spool_directory)
    except SpoolUnusable:
        return None
    return None if lag is None else (lag.records, lag.oldest_age_seconds or 0.0)


async def _repeat(once: Callable[[], Awaitable[int]], pause_seconds: float, stop: asyncio.Event) -> None:
    """Call `once` until stopped: again at once while it finds work, otherwise after a pause.

    A database may be down for hours: pauses double up to `_RETRY_FACTOR_MAX` times, and a repeated failure is logged
    without its traceback.
    """
    failures, logged = 0, ""
    while not stop.is_set():
        try:
            worked, pause, failures, logged = await once(), pause_seconds, 0, ""
        except Exception as error:
            worked, pause = 0, _RETRY_SECONDS * min(2**failures, _RETRY_FACTOR_MAX)
            failures = min(failures + 1, _RETRY_FACTOR_MAX)
            if logged == repr(error):
                _log.warning("recording still fails", error=type(error).__name__)
            else:
                _log.exception("recording failed; nothing is lost, and the next round retries")
            logged = repr(error)
        if worked == 0:
            await _wait(stop, pause)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _drain(rounds: Awaitable[object], *work: Callable[[], Awaitable[int]]) -> None:
    """End the rounds and do the remaining work, all within `_DRAIN_SECONDS_MAX`; the next start does the rest."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS_MAX):
            await rounds
            for once in work:
                while await once():
                    pass
    except Exception:
        _log.exception("records remain at the end; the next start records them")
