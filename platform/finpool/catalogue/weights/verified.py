"""Marks of verified files on this machine: hashing them again would cost seconds at every start."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

MARKER = "verified.json"
READ_BYTES = 4_194_304


def is_marked(directory: Path, files: Sequence[Path]) -> bool:
    """Tell whether these files, with size and modification time, are marked as verified in `directory`."""
    try:
        marker = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        return bool(marker == _fingerprints(files))
    except (OSError, ValueError):
        return False


def mark(directory: Path, files: Sequence[Path]) -> None:
    """Mark these files as verified in `directory`, with size and modification time."""
    temporary = directory / f".{MARKER}"
    temporary.write_text(json.dumps(_fingerprints(files)), encoding="utf-8")
    temporary.replace(directory / MARKER)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def put_in_place(partial: Path, target: Path, sha256: str) -> bool:
    """Move a fetched file into place with fsync; delete it and return False if its SHA-256 differs."""
    if sha256_of(partial) != sha256:
        partial.unlink()
        return False
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    return True


def _fingerprints(files: Sequence[Path]) -> list[dict[str, str | int]]:
    return [
        {"file": str(file), "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}
        for file, status in ((each, each.stat()) for each in files)
    ]
