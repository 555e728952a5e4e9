"""Vectors survive the way to a client: what 32 bits hold arrives as it was sent, and nothing else is sent."""

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.serving.vectors import packed, unpacked


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_numbers_of_32_bits_arrive_as_they_were(numbers: list[float]) -> None:
    encoded = base64.b64encode(packed(numbers)).decode()
    assert unpacked(encoded) == numbers
    assert base64.b64decode(encoded) == struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize("numbers", [[math.nan], [math.inf], [1e300], ["1"], None])
def test_what_is_no_vector_is_not_sent(numbers: list[float]) -> None:
    with pytest.raises((ValueError, OverflowError, TypeError)):
        packed(numbers)


@pytest.mark.parametrize("encoded", ["*", "AAA=", "AAAAAAA="])
def test_what_is_no_vector_is_not_read(encoded: str) -> None:
    with pytest.raises(ValueError, match="vector"):
        unpacked(encoded)
