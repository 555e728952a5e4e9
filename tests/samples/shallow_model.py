"""The demo model with two of its thirty layers: real weights, tokenizer and engine, at a quarter of the computing.

Its text means nothing, so it is for tests of an engine's life and of counts, never of answers. The file format is
GGUF version 3: magic, counts, key-value pairs, tensor descriptions, then the tensors, each aligned.
"""

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"
LAYERS = 2
ALIGNMENT_BYTES = 32
STRING, ARRAY, UINT32 = 8, 9, 4
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type's number in the file."""


@pytest.fixture(scope="session")
def shallow_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The shallow model's weights, as a catalogue declares them."""
    directory = Path(os.environ.get("FINPOOL_TEST_WEIGHTS_DIR", str(ROOT / ".cache" / "weights")))
    model = Catalogue.load(default_directory()).get(MODEL)
    original = ensure_weights(model, Settings(weights_dir=directory), lambda _: None)
    copy = tmp_path_factory.mktemp("weights") / "shallow.gguf"
    return {"source": "path", "path": str(copy), "sha256": shallow(original, copy)}


def shallow(original: Path, copy: Path) -> str:
    """Write the model with its first layers only; return the copy's SHA-256."""
    with original.open("rb") as file:
        magic, version, tensor_count, pair_count = struct.unpack("<4sIQQ", file.read(24))
        assert (magic, version) == (b"GGUF", 3)
        pairs = b"".join(_pair(file) for _ in range(pair_count))
        described = [_tensor(file) for _ in range(tensor_count)]
        data_start = _aligned(file.tell())
        ends = dict(zip(starts := sorted(start for _, _, start in described), [*starts[1:], None], strict=True))
        kept = [each for each in described if _layer(each[0]) < LAYERS]
        tensors, descriptions = b"", b""
        for _, description, start in kept:
            descriptions += description + struct.pack("<Q", len(tensors))
            file.seek(data_start + start)
            end = ends[start]
            content = file.read() if end is None else file.read(end - start)
            tensors += content.ljust(_aligned(len(content)), b"\0")
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(kept), pair_count) + pairs + descriptions
    whole = head.ljust(_aligned(len(head)), b"\0") + tensors
    copy.write_bytes(whole)
    return hashlib.sha256(whole).hexdigest()


def _layer(name: str) -> int:
    """Return the number of a tensor's layer; what belongs to no layer counts as the first."""
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else 0


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _text(file: BinaryIO) -> bytes:
    length = file.read(8)
    return length + file.read(struct.unpack("<Q", length)[0])


def _pair(file: BinaryIO) -> bytes:
    """Read a key and its value; the number of layers becomes the smaller one."""
    key, kind = _text(file), file.read(4)
    value = b"".join(_value(file, struct.unpack("<I", kind)[0]))
    if key.endswith(b".block_count"):
        value = struct.pack("<I", LAYERS)
    return key + kind + value


def _value(file: BinaryIO, kind: int) -> Iterator[bytes]:
    if kind == STRING:
        yield _text(file)
    elif kind == ARRAY:
        head = file.read(12)
        yield head
        of, count = struct.unpack("<IQ", head)
        for _ in range(count):
            yield from _value(file, of)
    else:
        yield file.read(SCALAR_BYTES[kind])


def _tensor(file: BinaryIO) -> tuple[str, bytes, int]:
    """Read a description; return the name, the description without its offset, and the offset."""
    name, dimensions = _text(file), file.read(4)
    rest = file.read(8 * struct.unpack("<I", dimensions)[0] + 4)
    return name[8:].decode(), name + dimensions + rest, struct.unpack("<Q", file.read(8))[0]
