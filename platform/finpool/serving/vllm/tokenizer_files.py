"""The control tokens of a model for vLLM, read from the files of its tokenizer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.errors import EngineFailed

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_ADDED = "added_tokens.json"
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def read_control_tokens(directory: Path) -> ControlTokens:
    """Return the control tokens that the tokenizer's files name; raise `EngineFailed` if there are none.

    A token that is marked as special is a control token, and so is one that looks like it, such as `<|user|>`.
    """
    found: dict[str, bool] = {}
    for name in _FILES:
        for text, special in _tokens(_read(directory / name)):
            found[text] = found.get(text, False) or special or _looks_special(text)
    for text in _read(directory / _ADDED) or {}:
        found.setdefault(text, _looks_special(text))
    control = [text for text, special in found.items() if special]
    if not control:
        raise EngineFailed("The files of the tokenizer name no control tokens.")
    template = "".join(_template(directory))
    return ControlTokens(control, [text for text in found if text.strip() and text in template])


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _tokens(content: Any) -> Iterator[tuple[str, bool]]:
    """Yield each added token of one file, and whether it is special; each file has its own form."""
    if not isinstance(content, dict):
        return
    for added in [*(content.get("added_tokens") or []), *(content.get("added_tokens_decoder") or {}).values()]:
        yield added["content"], bool(added.get("special"))
    for name, value in content.items():
        if name.endswith("_token") or name == "additional_special_tokens":
            for each in value if isinstance(value, list) else [value]:
                text = each.get("content") if isinstance(each, dict) else each
                if isinstance(text, str):
                    yield text, True


def _template(directory: Path) -> Iterator[str]:
    for name in _TEMPLATES:
        file = directory / name
        if file.is_file():
            yield file.read_text(encoding="utf-8")
    config = _read(directory / "tokenizer_config.json")
    if isinstance(config, dict):
        yield json.dumps(config.get("chat_template"), ensure_ascii=False)


def _looks_special(text: str) -> bool:
    return text.startswith(("<|", "<｜")) and text.endswith(("|>", "｜>"))
