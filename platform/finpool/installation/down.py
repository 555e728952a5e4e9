"""`finpool down` and `finpool status`: stop the processes in an order that loses nothing, or report their states."""

from dataclasses import dataclass

from finpool.installation.home.home import Home, exclusive
from finpool.installation.log_state import LogStateUnknown, log_freshness
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.postgres import postgres_pid, stop_postgres
from finpool.installation.process.components import DOORS, POOL, STOP_ORDER, WORKER, Component
from finpool.installation.process.processes import Stopped, log_path, running_process, stop_process
from finpool.installation.process.readiness import door_answers, engines_answer
from finpool.installation.progress import Progress
from finpool.kernel.settings import Settings
from finpool.metering.errors import SpoolUnusable
from finpool.metering.spool.lag import read_lag

POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process: whether it runs, whether it is ready, and the path of its log.

    `records_waiting` and `log_faults` belong to the worker: the unrecorded records in the spool, or None without a
    spool, and the faults of the audit log. A worker whose log has a fault is not ready.
    `background` belongs to the pool: how far each background model is that does not serve yet, or None while the pool
    is not ready.
    """

    name: str
    running: bool
    ready: bool
    pid: int | None
    port: int | None
    log: str
    records_waiting: int | None = None
    background: dict[str, str] | None = None
    log_faults: list[str] | None = None


def down(settings: Settings, progress: Progress) -> dict[str, Stopped]:
    """Stop every process, Postgres last, and return how each ended; a stopped one is `not running`."""
    home = Home(settings.home)
    if not home.root.is_dir():
        return {}
    ended: dict[str, Stopped] = {}
    with exclusive(home):
        for component in STOP_ORDER:
            if running_process(home, component.name) is None:
                ended[component.name] = Stopped.NOT_RUNNING
                continue
            with progress.step(f"Stopping {component.name}") as note:
                ended[component.name] = stop_process(home, component.name, component.stop_seconds)
                if ended[component.name] is Stopped.KILLED:
                    note(f"it did not end within {component.stop_seconds:.0f} s and was killed")
        if postgres_pid(home.root) is None:
            ended[POSTGRES] = Stopped.NOT_RUNNING
        else:
            with progress.step("Stopping postgres"):
                stop_postgres(home.root)
            ended[POSTGRES] = Stopped.ENDED
    return ended


def status(settings: Settings) -> list[ProcessStatus]:
    """Return the state of every process; an external Postgres is left out."""
    home = Home(settings.home)
    states = [_component_status(settings, home, component) for component in STOP_ORDER]
    if settings.owner_database_url is None:
        pid = postgres_pid(home.root)
        running = pid is not None
        states.append(ProcessStatus(POSTGRES, running, running, pid, None, str(home.postgres / "log")))
    return states


def _component_status(settings: Settings, home: Home, component: Component) -> ProcessStatus:
    record = running_process(home, component.name)
    log_faults = _log_faults(settings) if component == WORKER else None
    ready = record is not None and not log_faults and _is_ready(settings, component)
    return ProcessStatus(
        component.name,
        record is not None,
        ready,
        None if record is None else record.pid,
        None if record is None else record.port,
        str(log_path(home, component.name)),
        _records_waiting(settings) if component == WORKER else None,
        _background(settings) if component == POOL and record is not None else None,
        log_faults,
    )


def _background(settings: Settings) -> dict[str, str] | None:
    published = read_engines(settings.home)
    return None if published is None else published.background


def _log_faults(settings: Settings) -> list[str] | None:
    try:
        found = log_freshness(settings)
    except LogStateUnknown as error:
        return [str(error)]
    return None if found is None else found.faults


def _records_waiting(settings: Settings) -> int | None:
    try:
        lag = read_lag(settings.spool_path)
    except SpoolUnusable:
        return None
    return None if lag is None else lag.records


def _is_ready(settings: Settings, component: Component) -> bool:
    if component in DOORS:
        return door_answers(settings, component)
    if component == POOL:
        return engines_answer(settings)
    return component == WORKER
