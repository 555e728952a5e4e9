"""The allowed weight formats, GGUF and safetensors: they hold numbers and text, and loading them executes no code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from finpool.catalogue.errors import WeightsUnavailable

GGUF_MAGIC = b"GGUF"
GGUF_VERSIONS = (2, 3)
SAFETENSORS_HEADER_BYTES_MAX = 100_000_000
"""The limit of the safetensors format itself."""


def require_safe_format(model_id: str, file: Path) -> None:
    """Raise `WeightsUnavailable` unless the content of `file` has the format of its suffix.

    Loading a pickle, also inside PyTorch's zip, runs its author's code. A matching SHA-256 proves only that it is the
    declared file, so the content is checked as well.
    """
    is_format = _FORMATS.get(file.suffix)
    with file.open("rb") as content:
        if is_format is None or not is_format(content, file.stat().st_size):
            raise WeightsUnavailable(
                f"the weights of {model_id}: the content of {file.name} is not the format of its suffix;"
                f" only GGUF and safetensors are loaded, because other formats can run code"
            )


def _is_gguf(content: BinaryIO, _size_bytes: int) -> bool:
    return content.read(4) == GGUF_MAGIC and int.from_bytes(content.read(4), "little") in GGUF_VERSIONS


def _is_safetensors(content: BinaryIO, size_bytes: int) -> bool:
    """Check for an eight-byte little-endian length, that many bytes of JSON, then the numbers."""
    header_bytes = int.from_bytes(content.read(8), "little")
    if not 2 <= header_bytes <= min(SAFETENSORS_HEADER_BYTES_MAX, size_bytes - 8):
        return False
    try:
        return isinstance(json.loads(content.read(header_bytes)), dict)
    except (ValueError, RecursionError):
        return False


_FORMATS: dict[str, Callable[[BinaryIO, int], bool]] = {".gguf": _is_gguf, ".safetensors": _is_safetensors}
