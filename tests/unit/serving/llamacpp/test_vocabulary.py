"""The bytes of tokens, as the weights spell them."""

import struct
from pathlib import Path

import pytest

from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.vocabulary import Vocabulary, read_vocabulary

NORMAL, CONTROL, USER, BYTE = 1, 3, 4, 6


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(pairs: list[bytes]) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(pairs)


def test_a_file_names_its_tokens_between_other_values(tmp_path: Path) -> None:
    tokens = ["Ġhi", "<|end|>"]
    pairs = [
        text("general.name") + struct.pack("<I", 8) + text("small"),
        text("some.bool") + struct.pack("<I?", 7, True),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("gpt2"),
        text("some.nested") + struct.pack("<IIQIQB", 9, 9, 1, 0, 1, 7),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + b"".join(map(text, tokens)),
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ2i", 9, 5, 2, NORMAL, CONTROL),
    ]
    file = tmp_path / "small.gguf"
    file.write_bytes(gguf(pairs))
    vocabulary = read_vocabulary(file)
    assert (vocabulary.bytes_of(0), vocabulary.bytes_of(1)) == (b" hi", b"")
    assert vocabulary.control_tokens().broken("a<|end|>") != "a<|end|>"


def test_weights_without_tokens_are_no_chat_model(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(gguf([]))
    with pytest.raises(EngineFailed, match=r"small\.gguf"):
        read_vocabulary(file)


def test_both_spellings_of_tokens_become_bytes() -> None:
    by_text = Vocabulary("llama", ["▁hé", "<0xE2>", "<tool>"], [NORMAL, BYTE, USER])
    assert [by_text.bytes_of(token) for token in range(3)] == [" hé".encode(), b"\xe2", b"<tool>"]
    by_bytes = Vocabulary("gpt2", ["Ġhé", "âĢ", "<tool é>"], [NORMAL, NORMAL, USER])
    assert [by_bytes.bytes_of(token) for token in range(3)] == [b" h\xe9", b"\xe2\x80", "<tool é>".encode()]


def test_tokens_that_only_the_template_gives_a_meaning_are_none_of_the_assistants_concern() -> None:
    texts, types = ["<tool_call>", "<h1>", "  "], [USER] * 3
    tokens = Vocabulary("gpt2", texts, types, "{{ '<tool_call>' }}  ").control_tokens()
    assert tokens.broken("<tool_call><h1>  ", "user") == "<\u2060tool_call><h1>  "
    assert tokens.broken("<tool_call>", "assistant") == "<tool_call>"


def test_bytes_are_split_into_tokens_of_the_vocabulary() -> None:
    vocabulary = Vocabulary("llama", ["<0xF0>", "<0x9F>", "<0x98>", "ab", "a"], [BYTE, BYTE, BYTE, NORMAL, NORMAL])
    assert vocabulary.split(b"\xf0\x9f\x98", 3) == [b"\xf0", b"\x9f", b"\x98"]
    assert vocabulary.split(b"aba", 2) == [b"ab", b"a"]
    assert vocabulary.split(b"zz", 2) == [b"zz", b""], "no such tokens: none of the bytes is lost"
