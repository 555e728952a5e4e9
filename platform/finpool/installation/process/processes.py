"""Processes that outlive the command that starts them.

Each has a record with its process id and start time. So no signal reaches another process that has got the same id
since. A lost or unreadable record is rebuilt from the running process.
"""

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from finpool.installation.home.home import Home, write_atomically
from finpool.installation.process.components import START_ORDER

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KILL_WAIT_SECONDS = 10.0


class Stopped(StrEnum):
    """The end of a process."""

    NOT_RUNNING = "not running"
    ENDED = "ended"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process of this installation. `started` is the boot id and the kernel's start time in clock ticks."""

    name: str
    pid: int
    started: str
    port: int | None


def start_process(
    home: Home, name: str, command: Sequence[str], environment: Mapping[str, str], port: int | None
) -> ProcessRecord:
    """Start and record a detached process; it logs to HOME/log/<name>.log and gets only `environment`."""
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # The command is this interpreter with fixed arguments, without a shell. `subprocess` would expect the caller to
    # wait for the process, and this one runs on alone.
    pid = os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_path(home, name)), appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    record = ProcessRecord(name, pid, _start_mark(pid) or "", port)
    try:
        write_atomically(_record_path(home, name), json.dumps(asdict(record)) + "\n", mode=0o600)
    except OSError:
        # `finpool down` could never stop a process without a record.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return record


def running_process(home: Home, name: str) -> ProcessRecord | None:
    """Return the record of a running process, or None."""
    try:
        record = _read_record(home, name)
    except ValueError:
        record = None
    if record is None:
        return _found_process(home, name)
    return record if _start_mark(record.pid) == record.started else None


def unreadable_records(home: Home) -> list[Path]:
    """Return the paths of unreadable records."""
    unreadable = []
    for component in START_ORDER:
        try:
            _read_record(home, component.name)
        except ValueError:
            unreadable.append(_record_path(home, component.name))
    return unreadable


def stop_process(home: Home, name: str, timeout_seconds: float) -> Stopped:
    """Stop a process: SIGTERM, a bounded wait, then SIGKILL for its whole session."""
    record = running_process(home, name)
    if record is None:
        _record_path(home, name).unlink(missing_ok=True)
        return Stopped.NOT_RUNNING
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return Stopped.NOT_RUNNING
    try:
        outcome = _end(home, record, handle, timeout_seconds)
    finally:
        os.close(handle)
    _record_path(home, name).unlink(missing_ok=True)
    return outcome


def _end(home: Home, record: ProcessRecord, handle: int, timeout_seconds: float) -> Stopped:
    # The handle pins one process; this second look excludes that the id was reused before the handle was opened.
    if running_process(home, record.name) is None:
        return Stopped.NOT_RUNNING
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    if select.select([handle], [], [], timeout_seconds)[0]:
        return Stopped.ENDED
    os.killpg(record.pid, signal.SIGKILL)
    select.select([handle], [], [], _KILL_WAIT_SECONDS)
    return Stopped.KILLED


def log_path(home: Home, name: str) -> Path:
    """Return the path of the log of process `name`."""
    return home.log / f"{name}.log"


def last_log_line(home: Home, name: str) -> str:
    """Return the last non-empty line of the process's log, or an empty string."""
    try:
        lines = log_path(home, name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _record_path(home: Home, name: str) -> Path:
    return home.run / f"{name}.json"


def _read_record(home: Home, name: str) -> ProcessRecord | None:
    """Return the record, or None without one; raise ValueError for an invalid file."""
    path = _record_path(home, name)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        readable = isinstance(document["pid"], int) and isinstance(document["started"], str)
        record = ProcessRecord(**document)
    except FileNotFoundError:
        return None
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no record of a process") from error
    if not readable:
        raise ValueError(f"{path} is no record of a process")
    return record


def _found_process(home: Home, name: str) -> ProcessRecord | None:
    """Find the process in /proc: it leads a session, serves `name`, and has this FINPOOL_HOME."""
    component = next((each for each in START_ORDER if each.name == name), None)
    if component is None:
        return None
    arguments = [os.fsencode(each) for each in component.command()[1:]]
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        try:
            if (directory / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")[1:] != arguments:
                continue
            environ = (directory / "environ").read_bytes().split(b"\0")
            leads_session = os.getsid(pid) == pid
        except OSError:
            continue
        environment = dict(each.split(b"=", 1) for each in environ if b"=" in each)
        started = _start_mark(pid)
        if leads_session and started is not None and environment.get(b"FINPOOL_HOME") == os.fsencode(home.root):
            first_port = environment.get(b"FINPOOL_PORT", b"")
            offset = component.port_offset
            port = int(first_port) + offset if offset is not None and first_port.isdigit() else None
            return ProcessRecord(name, pid, started, port)
    return None


def _start_mark(pid: int) -> str | None:
    """Return the boot id and start time of a process, or None if it has ended; a zombie has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold any character, so fields count from the last parenthesis. The state is the third
    # field of proc(5), the start time the twenty-second.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return f"{_BOOT_ID.read_text(encoding='utf-8').strip()}:{fields[19]}"
