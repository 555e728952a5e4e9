"""docs/glossary.md is true: its words stand for code that exists, once each, and retired words stay away."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform" / "finpool"
PAGE = (ROOT / "docs" / "glossary.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
DOMAINS = [name for name in SECTIONS if (PACKAGE / name).is_dir()]

VERBS = {"ask", "exchange"}
"""Retired as nouns; a function may still have them as its verb."""


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def table_name(node: ast.ClassDef) -> str | None:
    """Return the table that a class stands for, None for any other class."""
    if not any(keyword.arg == "table" for keyword in node.keywords):
        return None
    for each in node.body:
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__tablename__":
            return str(ast.literal_eval(each.value))
    return node.name.lower()


def names_in(folder: Path) -> set[str]:
    """Return the classes, aliases and tables of a domain."""
    found: set[str] = set()
    for _, tree in trees(folder):
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found |= {node.name, table_name(node) or node.name}
            elif isinstance(node, ast.Assign):
                found |= {ast.unparse(target) for target in node.targets}
    return found


def public_names(path: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each public name of a module, and whether it is of a file, class or function."""
    yield path.stem, "file"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, "class"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name, "function"


def words_of(name: str) -> list[str]:
    """Return `gateway standing row` for GatewayStandingRow, as words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


def uses(name: str, retired: str) -> bool:
    """Tell whether a name holds a retired word, or words that follow each other."""
    words, wanted = words_of(name), retired.split()
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def retired_names(folder: Path) -> list[str]:
    """Return each public name that holds a retired word."""
    retired = [cells[0] for cells in rows("Retired words")]
    return [
        f"{path.relative_to(folder)}: {kind} {name}"
        for path, tree in trees(folder)
        for name, kind in public_names(path, tree)
        for word in retired
        if uses(name, word) and not (kind == "function" and word in VERBS)
    ]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_word_names_code_of_its_domain(domain: str) -> None:
    known = names_in(PACKAGE / domain)
    for word, meaning, code in rows(domain):
        named = re.findall(r"`([^`]+)`", code)
        assert named, word
        assert meaning.endswith("."), word
        missing = [each for each in named if not ((PACKAGE / each).is_file() if "/" in each else each in known)]
        assert missing == [], f"{word}: {missing}"


def test_every_word_is_defined_once() -> None:
    words = Counter(cells[0] for domain in DOMAINS for cells in rows(domain))
    assert len(words) > 100
    assert [word for word, times in words.items() if times > 1] == []


def test_every_table_is_in_the_glossary() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    tables = {table_name(node) for _, tree in trees(PACKAGE) for node in tree.body if isinstance(node, ast.ClassDef)}
    assert tables - named - {None} == {"gateway_slots", "invoice_series"}, "tables that hold no notion of their own"


def test_no_two_public_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees(PACKAGE):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert [f"{name}: {where}" for name, where in places.items() if len(where) > 1] == []


def test_no_public_name_holds_a_retired_word() -> None:
    assert len(rows("Retired words")) >= 10
    assert retired_names(PACKAGE) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("class Beacon: ...", ["new.py: class Beacon"]),
        ("class FairSharesOfOld: ...", ["new.py: class FairSharesOfOld"]),
        ("def begin_trial() -> None: ...", ["new.py: function begin_trial"]),
        ("class EngineAsk: ...", ["new.py: class EngineAsk"]),
        ("def ask() -> None: ...", []),
        ("class Task: ...", []),
    ],
)
def test_a_retired_word_that_comes_back_is_found(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "new.py").write_text(line)
    assert retired_names(tmp_path) == found
