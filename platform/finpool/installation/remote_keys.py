"""Keys of remote engines: only their owners can make one, so `finpool up` looks for them before it starts anything."""

from pathlib import Path

from finpool.installation.secret_files import secret_fault


def remote_key_fault(path: Path) -> str | None:
    """Say what is wrong with the file that should hold a remote engine's key, or None."""
    return secret_fault(path) if path.is_file() else f"the key of its engine is not at {path}: put it there, mode 600"
