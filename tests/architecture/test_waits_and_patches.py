"""Tests wait for events and not for time, and use a seam of the product rather than one of its private names."""

import ast
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT = Path(__file__).with_name("waits_and_patches.csv")
"""The number from before the rule, by file. A number may only fall, and then falls here as well."""


def left() -> Counter[tuple[str, str]]:
    with LEFT.open(encoding="utf-8", newline="") as file:
        return Counter({(row["file"], row["kind"]): int(row["count"]) for row in csv.DictReader(file)})


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the last part of the name that is called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute):
                yield called.attr, node
            elif isinstance(called, ast.Name):
                yield called.id, node


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def pauses(call: ast.Call) -> bool:
    """Tell whether a sleep takes time; a sleep of zero only lets other tasks run."""
    given = [*call.args[:1], *(each.value for each in call.keywords if each.arg in ("delay", "secs"))]
    return any(not (isinstance(each, ast.Constant) and each.value == 0) for each in given)


def patches_a_private_name(call: ast.Call) -> bool:
    texts = [each.value for each in call.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    owner = [each.attr for each in ast.walk(call.args[0]) if isinstance(each, ast.Attribute)] if call.args else []
    return any(is_private(name) for name in [*texts, *owner])


def found_in(source: str) -> Counter[str]:
    kinds = {
        "sleep": ("pause", pauses),
        **dict.fromkeys(("setattr", "delattr", "object"), ("private patch", patches_a_private_name)),
    }
    return Counter(kinds[name][0] for name, call in calls(source) if name in kinds and kinds[name][1](call))


def found() -> Counter[tuple[str, str]]:
    counted: Counter[tuple[str, str]] = Counter()
    for path in (ROOT / "tests").rglob("*.py"):
        for kind, count in found_in(path.read_text(encoding="utf-8")).items():
            counted[path.relative_to(ROOT / "tests").as_posix(), kind] += count
    return counted


def test_no_test_pauses_or_patches_a_private_name_beyond_what_is_left() -> None:
    allowed = left()
    more = {key: count for key, count in found().items() if count > allowed[key]}
    assert more == {}, "wait with `waiting.until`, or give the product a setting, an argument or a protocol instead"


def test_what_is_left_becomes_less() -> None:
    now = found()
    fewer = {key: now[key] for key, count in left().items() if now[key] < count}
    assert fewer == {}, f"write these numbers into {LEFT.name}"


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("import time\ntime.sleep(0.1)", "pause"),
        ("async def test_it(): await asyncio.sleep(PAUSE_SECONDS)", "pause"),
        ("monkeypatch.setattr(spool, '_bytes_used', broken)", "private patch"),
        ("monkeypatch.setattr('finpool.quota.grants._returning', broken)", "private patch"),
        ("monkeypatch.setattr(spool._writer, 'write', broken)", "private patch"),
    ],
)
def test_a_planted_violation_is_found(planted: str, kind: str) -> None:
    assert found_in(planted) == {kind: 1}


@pytest.mark.parametrize("allowed", ["await_it = asyncio.sleep(0)", "monkeypatch.setattr(log, 'get', answer)"])
def test_what_is_allowed_is_not_found(allowed: str) -> None:
    assert found_in(allowed) == {}
