"""Finds queries of tables with a tenant that do not start from the tenant's rows, and filters by tenant."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sql_text import tables_in
from sqlmodel import SQLModel
from table_mentions import Schema, dotted, imported, texts

_QUERIES = {"select", "update", "delete", "select_from", "get", "get_one", "exists", "aliased", "query"}
_FILTER = re.compile(r"\btenant_id\s*=\s*(?:ANY\s*\(\s*)?(?:CAST\s*\(\s*)?:\w+", re.IGNORECASE)
_SCOPED_PART = re.compile(r"\$(?:of_tenant|issued|balance|logged|spent_of_lease)\b")
"""The parts of reconciliation's queries; each holds the filter by tenant."""


@dataclass(frozen=True, slots=True, order=True)
class Query:
    """A query by its function, or by the constant that holds its SQL."""

    place: str
    line: int


def tables_with_a_tenant(known: Schema) -> frozenset[str]:
    """Return the tables whose rows belong to tenants."""
    return frozenset(name for name in known.modules if "tenant_id" in SQLModel.metadata.tables[name].columns)


def queries_without_a_tenant(source: str, known: Schema) -> set[Query]:
    """Return the queries that start from the rows of all tenants."""
    tree, tables = ast.parse(source), tables_with_a_tenant(known)
    names, scoped = imported(tree), _scoped_constants(tree)
    found = set()
    for place, part in _places(tree):
        for node in ast.walk(part):
            if isinstance(node, ast.Call) and dotted(node.func, names).rpartition(".")[2] in _QUERIES:
                inside = [each for argument in node.args for each in ast.walk(argument)]
                if any(known.classes.get(dotted(each, names)) in tables for each in inside):
                    found.add(Query(place, node.lineno))
        if _put_in(part) & scoped:
            continue
        for text, line in texts(part):
            named = {table for each in tables_in(text) for table in known.tables(each.name)}
            if named & tables and not _FILTER.search(text) and not _SCOPED_PART.search(text):
                found.add(Query(place, line))
    return found


def tenant_filters(source: str, known: Schema) -> list[int]:
    """Return the lines of the filters by one tenant, in SQL and in statements."""
    tree = ast.parse(source)
    names = imported(tree)
    found = [line for text, line in texts(tree) for _ in _FILTER.finditer(text)]
    for _, part in _places(tree):
        keys = {each.value for node in ast.walk(part) if isinstance(node, ast.Dict) for each in _constants(node)}
        for node in ast.walk(part):
            if isinstance(node, ast.Call) and dotted(node.func, names).rpartition(".")[2] == "filter_by":
                given = {each.arg for each in node.keywords}
                if "tenant_id" in given or (None in given and "tenant_id" in keys):
                    found.append(node.lineno)
            elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq):
                columns = [_is_column(each, names, known) for each in (node.left, *node.comparators)]
                if columns.count(True) == 1:
                    found.append(node.lineno)
    return found


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield each function, and each statement outside of functions, with the name that it defines."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            waiting += node.body
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node
        else:
            yield "", node


def _scoped_constants(tree: ast.Module) -> set[str]:
    """Return the constants of a module whose text holds the filter, also through one another."""
    constants = {place: part for place, part in _places(tree) if isinstance(part, ast.Assign)}
    put_in = {place: _put_in(part) for place, part in constants.items()}
    scoped = {
        place for place, part in constants.items() if any(_FILTER.search(text) is not None for text, _ in texts(part))
    }
    while more := {place for place, names in put_in.items() if names & scoped} - scoped:
        scoped |= more
    return scoped


def _put_in(part: ast.AST) -> set[str]:
    """Return the names that texts take in, such as `_OF_TENANT`."""
    values = [node.value for node in ast.walk(part) if isinstance(node, ast.FormattedValue)]
    return {value.id for value in values if isinstance(value, ast.Name)}


def _constants(node: ast.Dict) -> Iterator[ast.Constant]:
    return (each for each in node.keys if isinstance(each, ast.Constant))


def _is_column(node: ast.AST, names: Mapping[str, str], known: Schema) -> bool:
    """Tell whether an expression is the tenant's column of a table, of an alias of it or of a subquery."""
    in_col = isinstance(node, ast.Call) and dotted(node.func, names).rpartition(".")[2] == "col"
    column = node.args[0] if isinstance(node, ast.Call) and in_col and node.args else node
    if not isinstance(column, ast.Attribute) or column.attr != "tenant_id":
        return False
    owner = column.value
    return in_col or dotted(owner, names) in known.classes or (isinstance(owner, ast.Attribute) and owner.attr == "c")
