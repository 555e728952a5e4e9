"""The bound of logs that other programs write on this machine: Postgres', Ray's and Serve's.

They cannot be told to keep within so many bytes. All of them append, so their files can be emptied while they write.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

PAUSE_SECONDS = 30.0
_LOG_NAMES = ("*.log", "*.out", "*.err")


def logs_of_others(home: Path, ray_directory: Path) -> list[Path]:
    """Return the logs of Postgres and of all of Ray's processes."""
    found = [home / "postgres" / "log"]
    for name in _LOG_NAMES:
        found.extend(ray_directory.glob(f"session_*/logs/**/{name}"))
    return found


def bound(paths: Iterable[Path], bytes_max: int) -> None:
    """Keep the last part of each file above the bound as `NAME.1`, and empty the file."""
    for path in paths:
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            if size > bytes_max and not path.is_symlink():
                _move_end(path, size, bytes_max)


async def keep_bounded(home: Path, ray_directory: Path, bytes_max: int) -> None:
    """Keep these logs within the bound until cancelled; between two looks one may pass it."""
    while True:
        await asyncio.to_thread(lambda: bound(logs_of_others(home, ray_directory), bytes_max))
        await asyncio.sleep(PAUSE_SECONDS)


def _move_end(path: Path, size: int, bytes_max: int) -> None:
    with path.open("r+b") as log, path.with_name(f"{path.name}.1").open("wb") as kept:
        log.seek(size - bytes_max)
        shutil.copyfileobj(log, kept)
        log.truncate(0)
