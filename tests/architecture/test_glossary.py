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

VERBS = {"ask"}
"""Retired as a noun; a function may still have it as its verb."""

KEPT = {
    "cut_seq",  # a column of `invoice`, as is the next one
    "previous_cut_seq",
    "OPENING",  # a kind of transfer
    "pooling",  # a field of a model's declaration
    "_POOLING",
    "pooling_type",  # a parameter of llama.cpp
}
"""Variables with a retired word, because a table, a file format or llama.cpp has the name."""

SHARE_ALONE = {
    "billing/service_share/figures.py",  # a service share
    "billing/service_share/schemas.py",
    "catalogue/version/models.py",  # `shares` of a routing, as in the API
    "catalogue/version/routes_operator.py",
    "catalogue/version/schemas.py",
    "cli/versions.py",
}
"""Files with a variable that is called just `share` or `shares`; elsewhere the name says of what."""


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


def variables(tree: ast.Module) -> Iterator[str]:
    """Yield each variable, attribute and parameter of a module, private ones as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias) and node.asname is not None:
            yield node.asname


def public_names(path: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each public name of a module, and whether it is of a file, class, function or variable."""
    yield path.stem, "file"
    yield from ((name, "variable") for name in sorted(set(variables(tree)) - KEPT))
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


def shares_alone(folder: Path) -> set[str]:
    """Return the files with a variable that is called just `share` or `shares`."""
    names = {
        (str(path.relative_to(folder)), name.strip("_")) for path, tree in trees(folder) for name in variables(tree)
    }
    return {path for path, name in names if name in ("share", "shares")}


def retired_names(folder: Path) -> list[str]:
    """Return each public name, and each variable, that holds a retired word."""
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


def test_a_share_says_of_what() -> None:
    assert shares_alone(PACKAGE) == SHARE_ALONE


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("class Beacon: ...", ["new.py: class Beacon"]),
        ("class FairSharesOfOld: ...", ["new.py: class FairSharesOfOld"]),
        ("def begin_trial() -> None: ...", ["new.py: function begin_trial"]),
        ("class EngineAsk: ...", ["new.py: class EngineAsk"]),
        ("def ask() -> None: ...", []),
        ("def serve(exchange: object) -> None: ...", ["new.py: variable exchange"]),
        ("self._one_trial = 1", ["new.py: variable _one_trial"]),
        ("class Task: ...", []),
    ],
)
def test_a_retired_word_that_comes_back_is_found(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "new.py").write_text(line)
    assert retired_names(tmp_path) == found


def test_a_share_of_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("def split(shares: list[int]) -> None: ...")
    assert shares_alone(tmp_path) == {"new.py"}
