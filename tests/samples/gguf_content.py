"""A reader of GGUF files, which compares nothing with the writer."""

import math
import struct
from typing import Any

_FORMATS = {0: "B", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q"}
_BYTES_OF = {0: (1, 4), 2: (32, 18)}
"""Weights in a block of a tensor's type, and the bytes of a block."""


class GgufContent:
    """The metadata by key, and each tensor as its type, its dimensions and its bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self._offset = content, 8
        assert content[:8] == b"GGUF\x03\x00\x00\x00"
        tensors, pairs = self._read("QQ")
        self.metadata: dict[str, Any] = {self._text(): self._value(*self._read("I")) for _ in range(pairs)}
        directory = [self._entry() for _ in range(tensors)]
        begin = math.ceil(self._offset / 32) * 32
        self.tensors = {
            name: (kind, dimensions, self._bytes(begin + offset, kind, dimensions))
            for name, dimensions, kind, offset in directory
        }

    def _read(self, layout: str) -> tuple[Any, ...]:
        numbers = struct.unpack_from(f"<{layout}", self._content, self._offset)
        self._offset += struct.calcsize(f"<{layout}")
        return numbers

    def _text(self) -> str:
        (length,) = self._read("Q")
        self._offset += length
        return self._content[self._offset - length : self._offset].decode()

    def _value(self, kind: int) -> Any:
        if kind == 8:
            return self._text()
        if kind != 9:
            return self._read(_FORMATS[kind])[0]
        of, length = self._read("IQ")
        return [self._text() for _ in range(length)] if of == 8 else list(self._read(f"{length}{_FORMATS[of]}"))

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text()
        (axes,) = self._read("I")
        dimensions = self._read(f"{axes}Q")
        kind, offset = self._read("IQ")
        assert offset % 32 == 0
        return name, dimensions, kind, offset

    def _bytes(self, begin: int, kind: int, dimensions: tuple[int, ...]) -> bytes:
        block, block_bytes = _BYTES_OF[kind]
        return self._content[begin : begin + math.prod(dimensions) // block * block_bytes]
