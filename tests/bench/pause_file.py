"""The pauses of the loop of a server in another process: it writes each one as a line of a file."""

import sys
from pathlib import Path
from socket import socket

from loop_pauses import LoopPauses, Pause

from finpool.apps import server

LEAST_MS = 1.0


def write_pauses(path: Path) -> None:
    """Write each pause of the running loop into a file from now on, until the process ends."""

    def write(pause: Pause) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{pause.own_ms:.3f} {pause}\n")

    LoopPauses(write, least_ms=LEAST_MS).start()


class PauseFile:
    """The file of one server, from the last call of `begin`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._begin_bytes = 0

    def begin(self) -> None:
        """Forget all pauses so far."""
        self._begin_bytes = self._path.stat().st_size

    def longest(self) -> tuple[float, str]:
        """Return the longest pause in milliseconds and in words; shorter ones than `LEAST_MS` count as none."""
        lines = self._path.read_bytes()[self._begin_bytes :].decode().splitlines()
        told = [line.partition(" ") for line in lines]
        return max(((float(ms), words) for ms, _, words in told), default=(0.0, ""))


def main() -> None:
    """Serve a door like `finpool serve DOOR`, and write its pauses: `pause_file.py FILE DOOR`."""
    from finpool.cli.serve import DRAIN_SECONDS, Process, serve

    class WatchedServer(server.DoorServer):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            write_pauses(Path(sys.argv[1]))

    server.DoorServer = WatchedServer  # type: ignore[misc]
    serve(Process(sys.argv[2]), DRAIN_SECONDS)


if __name__ == "__main__":
    main()
