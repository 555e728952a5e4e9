"""The table of character replacements, read as SentencePiece and llama.cpp read it: the longest key wins."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.weights.conversion.charsmap import charsmap

VALUE, LEAF = 1 << 31, 1 << 8


def replaced(table: bytes, text: bytes) -> tuple[str, int] | None:
    """Return the replacement for the longest key at the start of `text` and that key's bytes, or None."""
    (size,) = struct.unpack_from("<I", table)
    units = struct.unpack_from(f"<{size // 4}I", table, 4)
    texts = table[4 + size :]
    found, index = None, units[0] >> 10
    for read, byte in enumerate(text, 1):
        index ^= byte
        if byte == 0 or index >= len(units) or units[index] & (VALUE | 0xFF) != byte:
            break
        is_leaf = units[index] & LEAF
        index ^= units[index] >> 10
        if is_leaf:
            offset = units[index] & (VALUE - 1)
            found = texts[offset : texts.index(b"\0", offset)].decode(), read
    return found


characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(
    st.dictionaries(st.text(characters, min_size=1, max_size=3), st.text(characters, max_size=4), min_size=1),
    st.text(characters, max_size=4),
)
def test_a_key_is_replaced_and_nothing_else_is(replacements: dict[str, str], other: str) -> None:
    table = charsmap(replacements)
    for text in (*replacements, other):
        keys = [key for key in replacements if text.startswith(key)]
        longest = max(keys, key=len, default=None)
        expected = None if longest is None else (replacements[longest], len(longest.encode()))
        assert replaced(table, text.encode()) == expected


@pytest.mark.parametrize("first", [0x80, 0x3000, 0x1F600])
def test_a_table_of_thousands_holds_each_of_them(first: int) -> None:
    replacements = {chr(first + number): f"<{number}>" for number in range(3000)}
    table = charsmap(replacements)
    for key, text in replacements.items():
        assert replaced(table, key.encode()) == (text, len(key.encode()))
    assert replaced(table, chr(first + 3001).encode()) is None
