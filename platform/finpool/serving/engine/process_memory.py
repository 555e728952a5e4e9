"""The memory of this process and its children, from Linux's /proc."""

from pathlib import Path

_PROC = Path("/proc")


def held_bytes(pid: int | None = None) -> int:
    """Return the proportional set size of a process (default: this one) and all its descendants, in bytes.

    A shared page counts in parts, so the sum over all engines of a node is their memory together.
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
        return 0  # The process has ended, or belongs to another user.
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
