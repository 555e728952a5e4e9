"""The checks of an installation that runs or ran; none of these faults stops `finpool up`."""

from collections.abc import Iterator

from finpool.installation.doctor.check import Check
from finpool.installation.home.home import Home
from finpool.installation.log_state import LogStateUnknown, log_freshness
from finpool.installation.process.components import WORKER
from finpool.installation.process.processes import log_path, running_process, unreadable_records
from finpool.kernel.settings import Settings
from finpool.metering.errors import SpoolUnusable
from finpool.metering.spool.lag import read_lag

STUCK_SECONDS = 60.0
"""The recorder writes a record within two seconds; a record that waits this long means that it is stuck."""


def examine_running(settings: Settings) -> list[Check]:
    """Run every check; `settings.home` is absolute."""
    home = Home(settings.home)
    return [*_records(home), *_spool(home, settings), *_log(home, settings)]


def _records(home: Home) -> Iterator[Check]:
    for path in unreadable_records(home):
        found = running_process(home, path.stem)
        state = "is not running" if found is None else f"was found all the same, as process {found.pid}"
        yield Check(
            f"record {path.stem}",
            False,
            f"{path} cannot be read; {path.stem} {state}: run `finpool down`, which removes it, and `finpool up`",
        )


def _spool(home: Home, settings: Settings) -> Iterator[Check]:
    try:
        lag = read_lag(settings.spool_path)
    except SpoolUnusable as error:
        yield Check("spool", False, str(error))
        return
    if lag is None:
        return
    age = "" if lag.oldest_age_seconds is None else f", the oldest for {lag.oldest_age_seconds:.0f} s"
    waiting = f"{lag.records} records wait to be recorded{age}" if lag.records else "all of it is recorded"
    if running_process(home, WORKER.name) is None or (lag.oldest_age_seconds or 0) <= STUCK_SECONDS:
        yield Check("spool", True, waiting)
        return
    yield Check(
        "spool",
        False,
        f"{waiting}: the recorder is stuck, and {log_path(home, WORKER.name)} says at what;"
        " run `finpool up`, which starts Postgres if that is down",
    )


def _log(home: Home, settings: Settings) -> Iterator[Check]:
    try:
        found = log_freshness(settings)
    except LogStateUnknown as error:
        yield Check("audit log", False, f"{error}: look at Postgres, and run `finpool up`")
        return
    if found is None:
        return
    worker = "" if running_process(home, WORKER.name) else "; the worker, which writes it, does not run: `finpool up`"
    yield Check("audit log", found.is_fresh, "; ".join(found.faults) + worker if found.faults else found.ages)
