"""The control tokens of a tokenizer's files, in each of their forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from finpool.serving.engine.control_tokens import BREAK
from finpool.serving.errors import EngineFailed
from finpool.serving.vllm.tokenizer_files import read_control_tokens


def written(directory: Path, **files: Any) -> Path:
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer": {"added_tokens": [{"content": "<|end|>", "special": True}]}},
        {"tokenizer": {"added_tokens": [{"content": "<|end|>", "special": False}]}},
        {"tokenizer_config": {"added_tokens_decoder": {"2": {"content": "<|end|>", "special": True}}}},
        {"tokenizer_config": {"eos_token": "<|end|>", "model_max_length": 2048, "pad_token": None}},
        {"special_tokens_map": {"eos_token": {"content": "<|end|>", "lstrip": False}}},
        {"special_tokens_map": {"additional_special_tokens": ["<|end|>"]}},
        {"added_tokens": {"<|end|>": 7}},
    ],
)
def test_every_file_names_its_own(tmp_path: Path, files: dict[str, Any]) -> None:
    assert read_control_tokens(written(tmp_path, **files)).broken("a<|end|>") == f"a<{BREAK}|end|>"


def test_added_tokens_count_where_the_template_gives_them_a_meaning(tmp_path: Path) -> None:
    added = [{"content": text, "special": text == "</s>"} for text in ("</s>", "<tool>", "<h1>", "<think>", "  ")]
    config = {"chat_template": "  {{ '<tool>' }}"}
    directory = written(tmp_path, tokenizer={"added_tokens": added}, tokenizer_config=config)
    (directory / "chat_template.jinja").write_text("{{ '<think>' }}")
    tokens = read_control_tokens(directory)
    assert tokens.broken("<tool><h1><think>  ", "user") == f"<{BREAK}tool><h1><{BREAK}think>  "
    assert tokens.broken("<tool>", "assistant") == "<tool>"


def test_a_tokenizer_without_control_tokens_starts_no_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="control tokens"):
        read_control_tokens(written(tmp_path, tokenizer={"added_tokens": []}))
