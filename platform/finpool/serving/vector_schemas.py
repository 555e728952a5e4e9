"""Vectors as OpenAI's clients read them: 32-bit floats, the lowest byte first."""

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Iterable


def packed(numbers: Iterable[float]) -> bytes:
    """Return the bytes of a vector; raises `ValueError` or `OverflowError` for what is no finite 32-bit float."""
    vector = array("f", numbers)
    if not all(map(math.isfinite, vector)):
        raise ValueError("a vector holds finite numbers")
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tobytes()


def unpacked(encoded: str) -> list[float]:
    """Return the numbers of a vector that came as base64; raises `ValueError` for what is none."""
    vector = array("f")
    vector.frombytes(b64decode(encoded, validate=True))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tolist()
