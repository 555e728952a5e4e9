"""The vocabulary of a model, read from the weights: the bytes of each token, and which ones are control tokens."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.errors import EngineFailed

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The formats of numbers by their type in a GGUF file."""

_WANTED = ("tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
_TEMPLATE = "tokenizer.chat_template"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
"""Types of tokens in a GGUF file."""


class Vocabulary:
    """The tokens of a model by their number."""

    def __init__(self, tokenizer: str, texts: Sequence[str], types: Sequence[int], template: str = "") -> None:
        """Take the chat template beside the tokens: it gives a meaning to some of them."""
        self._template = template
        self._texts = texts
        self._types = types
        self._bytes = _spelled_by_bytes if tokenizer == "gpt2" else _spelled_by_text
        self._known: set[bytes] | None = None

    def control_tokens(self) -> ControlTokens:
        """Return the tokens that no content of a request may hold."""
        pairs = list(zip(self._texts, self._types, strict=True))
        control = [text for text, kind in pairs if kind in (_CONTROL, _UNKNOWN)]
        added = [text for text, kind in pairs if kind == _USER_DEFINED and text.strip()]
        return ControlTokens(control, [text for text in added if text in self._template])

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes of a token in an answer; a control token has none."""
        text, kind = self._texts[token], self._types[token]
        return b"" if kind in (_CONTROL, _UNKNOWN) else self._bytes(text, kind)

    def split(self, content: bytes, count: int) -> list[bytes]:
        """Return `content` as that many tokens, the longest first; empty ones stand behind it if that is impossible."""
        if self._known is None:
            self._known = {self.bytes_of(token) for token in range(len(self._texts))}
        found = _split(content, count, self._known.__contains__)
        return [content, *[b""] * (count - 1)] if found is None else found


def read_vocabulary(weights: Path) -> Vocabulary:
    """Return the vocabulary of a GGUF file; raise `EngineFailed` if it has none."""
    found: dict[str, Any] = {}
    with weights.open("rb") as file:
        _, _, _, pairs = struct.unpack("<4sIQQ", file.read(24))
        for _ in range(pairs):
            name, (kind,) = _text(file), struct.unpack("<I", file.read(4))
            value = _value(file, kind)
            if name in (*_WANTED, _TEMPLATE):
                found[name] = value
    template = found.pop(_TEMPLATE, "")
    if len(found) < len(_WANTED):
        raise EngineFailed(f"The weights {weights.name} name no tokens.")
    tokenizer, texts, types = (found[name] for name in _WANTED)
    return Vocabulary(tokenizer, texts, types, template)


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        scalar = struct.Struct("<" + _SCALARS[kind])
        return scalar.unpack(file.read(scalar.size))[0]
    of, count = struct.unpack("<IQ", file.read(12))
    if of in (_STRING, _ARRAY):
        return [_value(file, of) for _ in range(count)]
    numbers = struct.Struct(f"<{count}{_SCALARS[of]}")
    return numbers.unpack(file.read(numbers.size))


def _split(content: bytes, count: int, known: Callable[[bytes], bool]) -> list[bytes] | None:
    if count == 1:
        return [content] if known(content) else None
    for end in range(len(content) - count + 1, 0, -1):
        if known(content[:end]) and (rest := _split(content[end:], count - 1, known)) is not None:
            return [content[:end], *rest]
    return None


def _spelled_by_text(text: str, kind: int) -> bytes:
    """Return the bytes of a token of SentencePiece: `▁` is a space, and `<0xE2>` a byte."""
    if kind == _BYTE:
        return bytes([int(text[3:-1], 16)])
    return text.replace("▁", " ").encode()


def _letters() -> dict[str, int]:
    """Return the bytes by their letters in byte-level BPE: printable Latin stands for itself, others follow 256."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_LETTERS = _letters()


def _spelled_by_bytes(text: str, kind: int) -> bytes:
    """Return the bytes of a token of byte-level BPE; only normal tokens are spelled with its letters."""
    if kind != _NORMAL:
        return text.encode()
    return bytes(_BYTE_LETTERS[letter] for letter in text if letter in _BYTE_LETTERS)
