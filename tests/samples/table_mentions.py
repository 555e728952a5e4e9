"""Finds every table that a Python file names, in SQL or through the class of its rows, and whether it writes there.

A file that locks rows, or adds an object to a session, counts as writing every table that the same function names.
"""

import ast
import importlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from source_files import PLATFORM
from sql_text import HOLE, tables_in
from sqlmodel import SQLModel

_CREATES = re.compile(r"(?=CREATE (?:OR REPLACE )?(?:VIEW|FUNCTION) )", re.IGNORECASE)
_CREATED = re.compile(r"CREATE (?:OR REPLACE )?(?:VIEW|FUNCTION) (\w+)", re.IGNORECASE)
_CHANGES = {"insert", "update", "delete", "merge", "__table__"}
_LOCKS_OR_ADDS = {"with_for_update", "add", "add_all", "delete", "merge", "bulk_save_objects"}
_NAMES_A_TABLE = {"table", "Table", "TableClause"}


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A table that a line names; `HOLE` stands for a name that is not written out."""

    table: str
    line: int
    written: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """The module of each table, the table of each class by its dotted name, and what views and functions read."""

    modules: Mapping[str, str]
    classes: Mapping[str, str]
    read_by: Mapping[str, frozenset[str]]

    def tables(self, name: str) -> frozenset[str]:
        """Return the tables behind a name in SQL: the table itself, or those that a view or a function reads."""
        return frozenset({name}) if name in self.modules else self.read_by.get(name, frozenset())


def schema() -> Schema:
    """Return the schema as the models declare it and the migrations complete it."""
    for path in sorted((PLATFORM / "finpool").rglob("models.py")):
        importlib.import_module(".".join(path.relative_to(PLATFORM).with_suffix("").parts))
    rows = [each for each in _below(SQLModel) if hasattr(each, "__table__")]
    modules = {str(each.__tablename__): each.__module__ for each in rows}
    classes = {f"{each.__module__}.{each.__name__}": str(each.__tablename__) for each in rows}
    return Schema(modules, classes, _read_by(modules.keys()))


def _read_by(tables: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the tables that each view and each function of the migrations reads, also through one another."""
    named: dict[str, set[str]] = {}
    for path in sorted((PLATFORM / "migrations" / "versions").glob("*.py")):
        for text, _ in texts(ast.parse(path.read_text())):
            for part in _CREATES.split(text):
                if created := _CREATED.match(part):
                    named[created[1]] = {each.name for each in tables_in(part)} - {created[1]}
    for _ in named:
        named = {name: reads.union(*(named.get(each, set()) for each in reads)) for name, reads in named.items()}
    return {name: frozenset(reads.intersection(tables)) for name, reads in named.items()}


def _below(base: type[SQLModel]) -> Iterator[type[SQLModel]]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)


def texts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each text with its line, put together as far as it is written out; docstrings are left out."""
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return
    if isinstance(tree, ast.Constant | ast.JoinedStr) or (isinstance(tree, ast.BinOp) and _is_text(tree)):
        yield _joined(tree), getattr(tree, "lineno", 0)
        inner = [each for each in ast.walk(tree) if isinstance(each, ast.FormattedValue)]
        for each in inner:
            yield from texts(each.value)
        return
    for child in ast.iter_child_nodes(tree):
        yield from texts(child)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _joined(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(node.left) + _joined(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _joined(node.left)
    if isinstance(node, ast.JoinedStr):
        return "".join(_joined(each) for each in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else HOLE


def mentions(source: str, known: Schema) -> set[Mention]:
    """Return what a file names of the schema's tables."""
    tree = ast.parse(source)
    found = set(_in_texts(tree, known))
    names = imported(tree)
    for part in _parts(tree):
        found |= set(_in_classes(part, names, known))
    return found


def _in_texts(tree: ast.Module, known: Schema) -> Iterator[Mention]:
    for text, line in texts(tree):
        for each in tables_in(text):
            names = {HOLE} if each.name == HOLE else known.tables(each.name)
            yield from (Mention(name, line, each.written) for name in names)
    for node in ast.walk(tree):
        named = None
        if isinstance(node, ast.Call) and _last_name(node.func) in _NAMES_A_TABLE and node.args:
            named = node.args[0]
        elif isinstance(node, ast.Subscript) and _last_name(node.value) == "tables":
            named = node.slice
        if isinstance(named, ast.Constant) and named.value in known.modules:
            yield Mention(str(named.value), named.lineno, written=True)


def _parts(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Yield the functions and methods of a module, each by itself, and then what is outside of them."""
    outside: list[ast.stmt] = []
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield [node]
        elif isinstance(node, ast.ClassDef):
            waiting += node.body
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            outside.append(node)
    yield outside


def _in_classes(part: Collection[ast.stmt], names: Mapping[str, str], known: Schema) -> Iterator[Mention]:
    nodes = [node for each in part for node in ast.walk(each)]
    used = {node: table for node in nodes if (table := known.classes.get(dotted(node, names))) is not None}
    locks = any(isinstance(node, ast.Attribute) and node.attr in _LOCKS_OR_ADDS for node in nodes)
    changed = set()
    for node in nodes:
        if isinstance(node, ast.Call) and dotted(node.func, names).rpartition(".")[2] in _CHANGES and node.args:
            changed.add(node.args[0])
        elif isinstance(node, ast.Call):
            changed.add(node.func)
        elif isinstance(node, ast.Attribute) and node.attr in _CHANGES:
            changed.add(node.value)
    for node, table in used.items():
        yield Mention(table, getattr(node, "lineno", 0), written=locks or node in changed)


def changed_results(module: str, source: str) -> set[int]:
    """Return the lines that change an object which another domain returned in the same function, such as its row."""
    tree, changed = ast.parse(source), set()
    names = imported(tree)
    for part in _parts(tree):
        nodes = [node for each in part for node in ast.walk(each)]
        foreign = {name for node in nodes for name in _bound_to_result(node, module.split(".")[1], names)}
        for node in nodes:
            if isinstance(node, ast.Call) and _last_name(node.func) in {
                "sqlmodel_update",
                "setattr",
                "delete",
                "merge",
            }:
                of_call = node.func.value if isinstance(node.func, ast.Attribute) else None
                held = [of_call, *node.args[:1]]
            else:
                held = [node.value] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else []
            changed |= {each.lineno for each in held if isinstance(each, ast.Name) and each.id in foreign}
    return changed


def _bound_to_result(node: ast.AST, domain: str, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that a statement gives what a call of another domain returned."""
    source: ast.expr | None
    targets: list[ast.expr]
    if isinstance(node, ast.For | ast.AsyncFor):
        source, targets = node.iter, [node.target]
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
        source, targets = node.value, node.targets if isinstance(node, ast.Assign) else [node.target]
    else:
        return
    value = source.value if isinstance(source, ast.Await) else source
    called = dotted(value.func, names).split(".") if isinstance(value, ast.Call) else []
    if called[:1] == ["finpool"] and called[1] not in {domain, "kernel"}:
        yield from (
            each.id
            for target in targets
            for each in ast.walk(target)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        )


def imported(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for, dotted."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname: each.name for each in node.names if each.asname is not None}
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return names


def dotted(node: ast.AST, names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return (names.get(node.id) or node.id) if isinstance(node, ast.Name) else ""


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
