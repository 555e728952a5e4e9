"""SentencePiece's table of character replacements: a double-array trie of UTF-8 keys, then the replacements.

The format is that of `normalizer_spec.precompiled_charsmap`, which llama.cpp reads. Each node of the trie has a BASE,
and its child for byte c is at BASE ^ c. The child for byte 0 holds the replacement's offset.
"""

import struct
from collections.abc import Mapping
from itertools import count

_LEAF = 1 << 8
_VALUE = 1 << 31
_BASE_SHIFT = 10
_BASE_MAX = 1 << 21
_BLOCK_UNITS = 256

Node = dict[int, "Node | int"]
"""Children by byte; the one of byte 0 is an offset into the replacements."""


def charsmap(replacements: Mapping[str, str]) -> bytes:
    """Return the table that replaces each key by its text; a longer key is preferred to a shorter one."""
    offsets: dict[str, int] = {}
    texts = bytearray()
    root: Node = {}
    for key, text in replacements.items():
        if text not in offsets:
            offsets[text] = len(texts)
            texts += text.encode() + b"\0"
        _insert(root, key.encode(), offsets[text])
    array = _Builder(root).units
    return struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + bytes(texts)


def _insert(root: Node, key: bytes, offset: int) -> None:
    node = root
    for byte in key:
        child = node.setdefault(byte, {})
        assert isinstance(child, dict)  # noqa: S101 - no key holds byte 0, whose child alone is a number.
        node = child
    node[0] = offset


class _Builder:
    """The double array of a trie: each node gets the first BASE whose children's places are free."""

    def __init__(self, root: Node) -> None:
        self.units = [0] * _BLOCK_UNITS
        self._taken = {0}
        self._bases: set[int] = set()
        inner: list[tuple[int, Node]] = [(0, root)]
        ends: list[tuple[int, Node]] = []
        for index, node in inner:
            for place, child in self._place(index, node, 1):
                # Most nodes end a key. They fit anywhere, so they fill the gaps that the others leave.
                (ends if child.keys() == {0} else inner).append((place, child))
        first = 1
        for index, node in ends:
            while first in self._taken or first in self._bases:
                first += 1
            self._place(index, node, first)

    def _place(self, index: int, node: Node, first: int) -> list[tuple[int, Node]]:
        """Give the node at `index` its BASE, take its children's places from `first` on, and return the children."""
        base = self._free_base(node, first)
        if index ^ base >= _BASE_MAX:
            raise ValueError("the table of replacements is too large")
        self._bases.add(base)
        self.units[index] |= (index ^ base) << _BASE_SHIFT | (_LEAF if 0 in node else 0)
        children = []
        for byte, child in node.items():
            place = base ^ byte
            self._taken.add(place)
            if isinstance(child, int):
                self.units[place] = _VALUE | child
            else:
                self.units[place] = byte
                children.append((place, child))
        return children

    def _free_base(self, node: Node, first: int) -> int:
        """Return a BASE that no other node has: an equal one would make their children look alike."""
        smallest = min(node)
        for place in count(first):
            base = place ^ smallest
            if base not in self._bases and self._taken.isdisjoint(base ^ byte for byte in node):
                while len(self.units) <= base | (_BLOCK_UNITS - 1):
                    self.units += [0] * _BLOCK_UNITS
                return base
        raise AssertionError
