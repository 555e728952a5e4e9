"""Standard output behind a queue: one thread writes the log, and keeps its file within a bound.

A full disk, or a pipe that is read slowly or not at all, costs log lines and never delays the event loop.
"""

import atexit
import contextlib
import json
import os
import queue
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from finpool.kernel.clock import now

WAITING_LINES_MAX = 10_000
"""Lines that wait for the output; further ones are dropped, and a line tells how many."""

END_SECONDS_MAX = 1.0
"""How long the end of the process waits for the rest of its log."""

_BATCH_LINES_MAX = 256
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


@dataclass(frozen=True, slots=True)
class LogRotation:
    """Moves the log to `NAME.1` above `bytes_max`, if standard output is a file in `directory`."""

    directory: Path
    bytes_max: int

    def apply(self) -> None:
        """Move a log above the bound away and begin a new one, for standard output and standard error."""
        status = os.fstat(_STANDARD_OUTPUT)
        if not stat.S_ISREG(status.st_mode) or status.st_size <= self.bytes_max:
            return
        path = Path(f"/proc/self/fd/{_STANDARD_OUTPUT}").readlink()
        if path.parent != self.directory.resolve():
            return
        path.rename(path.with_name(f"{path.name}.1"))
        with_error = os.path.samestat(status, os.fstat(_STANDARD_ERROR))
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (_STANDARD_OUTPUT, *((_STANDARD_ERROR,) if with_error else ())):
            os.dup2(opened, descriptor)
        os.close(opened)


class LogOutput:
    """A stream for log lines; a thread of its own writes them to standard output."""

    def __init__(self, service: str, rotation: LogRotation | None) -> None:
        self._service = service
        self._rotation = rotation
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_until_closed, name="log-output", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Queue the text; drop it if too many lines wait."""
        if self._lines.qsize() >= WAITING_LINES_MAX:
            self._dropped += 1
        else:
            self._lines.put(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes each line at once."""

    def close(self) -> None:
        """Write the waiting lines, for `END_SECONDS_MAX` at most."""
        self._lines.put(None)
        self._thread.join(END_SECONDS_MAX)

    def _write_until_closed(self) -> None:
        closing = False
        while not closing:
            lines = [self._lines.get()]
            while len(lines) < _BATCH_LINES_MAX and not self._lines.empty():
                lines.append(self._lines.get())
            closing = None in lines
            text = "".join(line for line in lines if line is not None)
            if self._dropped:
                text += self._told_dropped()
            with contextlib.suppress(OSError):
                _write_all(text.encode("utf-8", "backslashreplace"))
            if self._rotation is not None:
                with contextlib.suppress(OSError):
                    self._rotation.apply()

    def _told_dropped(self) -> str:
        dropped, self._dropped = self._dropped, 0
        line = {
            "event": "log lines were dropped: the output was too slow",
            "lines": dropped,
            "service": self._service,
            "level": "warning",
            "timestamp": now().isoformat(),
        }
        return json.dumps(line) + "\n"


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(_STANDARD_OUTPUT, data) :]
