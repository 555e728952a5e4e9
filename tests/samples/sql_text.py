"""Finds the tables that a text of SQL names, by the places where a table's name may stand.

It stands behind FROM, JOIN, USING, INTO, UPDATE or TABLE, and behind each comma of such a list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HOLE = "\0"
"""Stands for a value that Python puts into the text when the program runs."""

_WORDS = re.compile(
    r"""(?P<skip> '(?:[^']|'')*' | --[^\n]* | /\*.*?\*/ | ::\s*\w+ | :\w+ )
      | (?P<word> (?:"?\w+"?\.)?"?[A-Za-z_]\w*"? )
      | (?P<hole> \0 | \$\w+ | %s | \{\w*\} )
      | (?P<mark> [(),;] )""",
    re.VERBOSE | re.DOTALL,
)
_READS = {"from", "join", "using"}
_WRITES = {"into", "update", "table", "truncate", "copy", "lock"}
_LISTS = {"from", "using", "table", "truncate", "lock"}
_PASSED = {"only", "lateral", "table", "if", "not", "exists", "concurrently"}
_ENDS = {"where", "group", "order", "having", "limit", "set", "returning", "union", "select", "values", "window", "for"}
_TAKES_FROM = {"extract", "substring", "trim", "overlay", "position"}
_STATEMENT = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT\s+INTO|UPDATE\s+\S+\s+(AS\s+\w+\s+)?SET|DELETE\s+FROM|TRUNCATE|LOCK\s+TABLE)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Named:
    """A name in the place of a table's, and whether the statement writes or locks its rows; it may be `HOLE`."""

    name: str
    written: bool


@dataclass(slots=True)
class _Level:
    """One pair of brackets: whether a table's name comes next, and whether it is written."""

    takes_from: bool = False
    written: bool = False
    awaited: bool = False
    listed: bool = False


def tables_in(sql: str) -> Iterator[Named]:
    """Yield each name in the place of a table's. A statement that locks rows counts as writing all its tables."""
    locks = re.search(r"\bfor\s+(no\s+key\s+update|key\s+share|update|share)\b", sql, re.IGNORECASE) is not None
    is_statement = _STATEMENT.search(sql) is not None
    levels, before = [_Level()], ""
    for found in _WORDS.finditer(sql):
        text = found.group().lower()
        level = levels[-1]
        if found.lastgroup == "mark":
            _bracket_or_comma(levels, text, before)
        elif found.lastgroup == "hole" and level.awaited:
            level.awaited = False
            if is_statement:
                yield Named(HOLE, level.written or locks)
        elif found.lastgroup == "word":
            name = text.replace('"', "").rpartition(".")[2]
            if level.awaited and name not in _PASSED | _ENDS:
                level.awaited = False
                yield Named(name, level.written or locks)
            elif not level.awaited or name in _ENDS:
                _keyword(level, name, before)
        before = text


def _bracket_or_comma(levels: list[_Level], mark: str, before: str) -> None:
    level = levels[-1]
    if mark == "(":
        level.awaited = False
        levels.append(_Level(takes_from=before in _TAKES_FROM))
    elif mark == ")" and len(levels) > 1:
        levels.pop()
    elif mark == ",":
        level.awaited = level.listed
    elif mark == ";":
        levels[:] = [_Level()]


def _keyword(level: _Level, word: str, before: str) -> None:
    if word in _ENDS:
        level.awaited = level.listed = False
    elif word in _READS and not level.takes_from and before != "distinct":
        level.written = before == "delete"
        level.awaited, level.listed = True, level.listed or word in _LISTS
    elif word in _WRITES and before not in {"for", "key", "do", "on", "or", "before", "after"}:
        level.written = level.awaited = True
        level.listed = word in _LISTS
