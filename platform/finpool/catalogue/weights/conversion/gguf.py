"""A writer of GGUF version 3, llama.cpp's format: metadata, then tensors whose bytes are copied from their source."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import BinaryIO

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT_BYTES = 32
_STRING, _ARRAY = 8, 9


class TensorType(IntEnum):
    """The number formats of ggml's tensors that are written here."""

    F32 = 0
    Q4_0 = 2


_FORMATS = {"uint8": (0, "B"), "int32": (5, "i"), "uint32": (4, "I"), "float32": (6, "f"), "bool": (7, "?")}
"""GGUF's numbers of value types, and how `struct` packs them; the lowest byte comes first."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: `dimensions` begins with the length of a row, and `content` holds its bytes as ggml reads them."""

    name: str
    kind: TensorType
    dimensions: tuple[int, ...]
    content: memoryview


@dataclass(slots=True)
class GgufFile:
    """The content of a GGUF file, in the order in which it is written."""

    tensors: Sequence[Tensor]
    _metadata: list[bytes] = field(default_factory=list)

    def text(self, key: str, value: str) -> None:
        """Add a text."""
        self._metadata.append(_text(key.encode()) + struct.pack("<I", _STRING) + _text(value.encode()))

    def number(self, key: str, kind: str, value: float) -> None:
        """Add a number or a truth value; `kind` is a name such as uint32."""
        number, code = _FORMATS[kind]
        self._metadata.append(_text(key.encode()) + struct.pack(f"<I{code}", number, value))

    def texts(self, key: str, values: Sequence[bytes]) -> None:
        """Add an array of texts, each in UTF-8."""
        self._metadata.append(_array(key, _STRING, len(values)) + b"".join(map(_text, values)))

    def numbers(self, key: str, kind: str, values: Sequence[float]) -> None:
        """Add an array of numbers; `kind` is a name such as float32."""
        number, code = _FORMATS[kind]
        self._metadata.append(_array(key, number, len(values)) + struct.pack(f"<{len(values)}{code}", *values))

    def write(self, file: BinaryIO) -> None:
        """Write the file from its beginning."""
        file.write(MAGIC + struct.pack("<IQQ", VERSION, len(self.tensors), len(self._metadata)))
        file.writelines(self._metadata)
        offset = 0
        for tensor in self.tensors:
            shape = struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
            file.write(_text(tensor.name.encode()) + shape + struct.pack("<IQ", tensor.kind, offset))
            offset += _aligned(tensor.content.nbytes)
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        for tensor in self.tensors:
            file.write(tensor.content)
            file.write(bytes(_aligned(tensor.content.nbytes) - tensor.content.nbytes))


def _text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def _array(key: str, kind: int, length: int) -> bytes:
    return _text(key.encode()) + struct.pack("<IIQ", _ARRAY, kind, length)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
