"""Processes that outlive the command that starts them.

Each is recorded with its process id and the moment it started, so that a process id which the system has given to
somebody else is never signalled. A record that is lost or cannot be read is made again from the process itself.
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
    """How a process ended."""

    NOT_RUNNING = "not running"
    ENDED = "ended"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process of this installation. `started` is the boot's id and the kernel's start time in clock ticks."""

    name: str
    pid: int
    started: str
    port: int | None


def start_process(
    home: Home, name: str, command: Sequence[str], environment: Mapping[str, str], port: int | None
) -> ProcessRecord:
    """Start a detached process that logs to HOME/log/<name>.log, and record it; `environment` is all it gets."""
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # The command is this interpreter and fixed arguments; no shell is involved. Whoever starts a process with
    # `subprocess` is expected to wait for it, and this one is to go on alone.
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
        # A process without a record could never be stopped by `down`.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return record


def running_process(home: Home, name: str) -> ProcessRecord | None:
    """Return the record of a process that runs now, or None."""
    try:
        record = _read_record(home, name)
    except ValueError:
        record = None
    if record is None:
        return _found_process(home, name)
    return record if _start_mark(record.pid) == record.started else None


def unreadable_records(home: Home) -> list[Path]:
    """Return the records that are there and say nothing."""
    unreadable = []
    for component in START_ORDER:
        try:
            _read_record(home, component.name)
        except ValueError:
            unreadable.append(_record_path(home, component.name))
    return unreadable


def stop_process(home: Home, name: str, timeout_seconds: float) -> Stopped:
    """End a process: SIGTERM, a bounded wait, then SIGKILL for it and the processes of its session."""
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
    # The handle fixes one process; looking again rules out that the id changed hands before the handle was opened.
    if running_process(home, record.name) is None:
        return Stopped.NOT_RUNNING
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    if select.select([handle], [], [], timeout_seconds)[0]:
        return Stopped.ENDED
    os.killpg(record.pid, signal.SIGKILL)
    select.select([handle], [], [], _KILL_WAIT_SECONDS)
    return Stopped.KILLED


def log_path(home: Home, name: str) -> Path:
    """Return where the process `name` writes its log."""
    return home.log / f"{name}.log"


def last_log_line(home: Home, name: str) -> str:
    """Return the last line that the process wrote, or an empty string."""
    try:
        lines = log_path(home, name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _record_path(home: Home, name: str) -> Path:
    return home.run / f"{name}.json"


def _read_record(home: Home, name: str) -> ProcessRecord | None:
    """Return what is recorded, None if nothing is; raise ValueError for a file that is no record."""
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
    """Look for the process among all that run: it leads a session, serves `name`, and its home is this one."""
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
    """Return what identifies the process behind a pid, or None when it has ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, so fields are counted from the last parenthesis: state is the
    # third field of proc(5), start time the twenty-second.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return f"{_BOOT_ID.read_text(encoding='utf-8').strip()}:{fields[19]}"
