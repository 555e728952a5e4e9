"""Vectors in OpenAI's encoding: 32-bit floats, the lowest byte first."""

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Iterable, Sequence
from operator import mul


def packed(numbers: Iterable[float]) -> bytes:
    """Return the bytes of a vector; raise `ValueError` or `OverflowError` if a number is not a finite 32-bit float."""
    vector = array("f", numbers)
    if not all(map(math.isfinite, vector)):
        raise ValueError("a vector holds finite numbers")
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tobytes()


def unpacked(encoded: str) -> list[float]:
    """Return the numbers of a base64 vector; raise `ValueError` if it is malformed."""
    vector = array("f")
    try:
        vector.frombytes(b64decode(encoded, validate=True))
    except ValueError as error:
        raise ValueError("this is no vector of 32-bit floats") from error
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tolist()


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors; raise `ValueError` for unequal lengths or a zero or infinite vector."""
    lengths = math.hypot(*one) * math.hypot(*other)
    if len(one) != len(other) or not math.isfinite(lengths) or lengths == 0:
        raise ValueError("these vectors cannot be compared")
    return float(sum(map(mul, one, other))) / lengths
