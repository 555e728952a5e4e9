"""How much of the node's memory this process and its children hold, as Linux counts it."""

from pathlib import Path

_PROC = Path("/proc")


def held_bytes(pid: int | None = None) -> int:
    """Return the proportional set size of a process (this one by default) and all its descendants, in bytes.

    Pages that several share count in parts, so that the sum over all engines of a node is what they hold together.
    """
    root = _PROC / "self" if pid is None else _PROC / str(pid)
    children = [
        int(child) for listed in root.glob("task/*/children") for child in listed.read_text(encoding="ascii").split()
    ]
    return _own_bytes(root) + sum(held_bytes(child) for child in children)


def _own_bytes(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # It has ended, or belongs to somebody else.
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
