"""Counts of the engines' computed tokens, kept in files that outlive the engine processes.

Each engine has one file, with a row for each process that ran at the same time. A process writes its row through a
memory map, so counting needs no system call and the counts survive a kill.
"""

import fcntl
import mmap
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finpool.serving.schemas import UNCOUNTED_FIELD

_NAMES = ("running", "requests", "aborted", "input_tokens", "cached_input_tokens", "output_tokens")
_ROW_BYTES = 8 * len(_NAMES)


class _Count:
    """One count of `Counters`, a descriptor of its place in `values`."""

    def __init__(self, name: str) -> None:
        self._index = _NAMES.index(name)

    def __get__(self, counters: "Counters", owner: type["Counters"]) -> int:
        return counters.values[self._index]

    def __set__(self, counters: "Counters", value: int) -> None:
        counters.values[self._index] = value


class Counters:
    """The counts of one engine process, without health checks. They belong to one event loop.

    `running` is the number of runs that are under way: one for each request, and one more for each prompt of a text
    completion. While it is 0, no other count changes.
    """

    __slots__ = ("values",)

    running = _Count("running")
    requests = _Count("requests")
    aborted = _Count("aborted")
    input_tokens = _Count("input_tokens")
    cached_input_tokens = _Count("cached_input_tokens")
    output_tokens = _Count("output_tokens")

    def __init__(self, **counts: int) -> None:
        self.values: list[int] | memoryview[int] = [counts.get(name, 0) for name in _NAMES]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counters) and self.figures() == other.figures()

    __hash__ = None  # type: ignore[assignment]  # Counts change, so no hash stays valid.

    def figures(self) -> dict[str, int]:
        """Return each count by its name."""
        return dict(zip(_NAMES, self.values, strict=True))

    def keep_in(self, file: Path) -> None:
        """Move the counts into a file, to a row without a living process; the row's values are kept and increased.

        Call it once per process. The process never closes the file, because that would release its lock on the row; for
        the same reason it must not open the file again.
        """
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        row = _free_row(descriptor)
        os.posix_fallocate(descriptor, row * _ROW_BYTES, _ROW_BYTES)
        mapped = memoryview(mmap.mmap(descriptor, (row + 1) * _ROW_BYTES))
        kept = mapped[row * _ROW_BYTES :].cast("q")
        kept[0] = 0  # The row's former process has ended.
        for index, value in enumerate(self.values):
            kept[index] += value
        self.values = kept


def counters_for(body: Mapping[str, Any], counters: Counters) -> Counters:
    """Return the counters for a request: temporary ones if the body sets `uncounted`, as acceptance tests do."""
    return Counters() if body.get(UNCOUNTED_FIELD) is True else counters


def counts_file(home: Path, engine_key: str) -> Path:
    """Return the file of an engine's counts."""
    return _directory(home) / engine_key


def forget_counts(home: Path) -> None:
    """Delete all counts; no engine may be running."""
    shutil.rmtree(_directory(home), ignore_errors=True)


def kept_counts(home: Path) -> dict[str, dict[str, int]]:
    """Return the sums over all processes of each engine, ended ones included, by engine key."""
    directory = _directory(home)
    if not directory.is_dir():
        return {}
    return {file.name: _sums(file) for file in sorted(directory.iterdir())}


def _directory(home: Path) -> Path:
    return home / "run" / "counts"


def _free_row(descriptor: int) -> int:
    row = 0
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _ROW_BYTES, row * _ROW_BYTES)
        except (BlockingIOError, PermissionError):
            row += 1
        else:
            return row


def _sums(file: Path) -> dict[str, int]:
    values = array("q", file.read_bytes())
    sums: Counter[str] = Counter(dict.fromkeys(_NAMES, 0))
    for begin in range(0, len(values), len(_NAMES)):
        sums.update(dict(zip(_NAMES, values[begin:], strict=False)))
    return dict(sums)
