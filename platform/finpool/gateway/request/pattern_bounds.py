"""The regular expressions that engines support and match without trying too many paths."""

import re
from dataclasses import dataclass

PATTERN_CHARACTERS_MAX = 128

PATTERN_REPEATS_MAX = 64
"""The characters of a pattern after its repetitions are written out, nested ones multiplied.

A text may be at each of these places at once, and the engine tries every token of the vocabulary at each place.
"""

PATTERN_VARIABLE_MAX = 4
"""Repetitions with a variable number, such as `?` and `{1,3}`: side by side they multiply such places."""

_OPEN_ENDED_REPEATS = 2
"""`*` and `+` become recursive rules, not copies."""

_TOKEN = re.compile(
    r"(?P<quantifier>[*+?]|\{(?P<least>\d{1,4})(?P<comma>,(?P<most>\d{1,4})?)?\})"
    r"|(?P<open>\((?:\?:)?(?!\?))|(?P<close>\))|(?P<either>\|)"
    r"|(?P<klass>\[(?!\^)(?:\\[\].^$*+?(){}/-]|(?!--)[^\\\[\]&|~])+\])"
    r"|(?P<atom>\\[.$^|()\[\]{}*+?-]|[^\\\[\](){}*+?|^$.])",
)

_BREAKS_JSON = '"\\' + "".join(map(chr, range(0x20)))
"""Characters that end or escape a JSON string; llama.cpp writes them into the answer unescaped."""


@dataclass(slots=True)
class _Group:
    """A group, or the whole pattern, during parsing; an item is a character, a class or a closed group."""

    repeats: int = 0
    can_be_empty: bool = False
    branch_can_be_empty: bool = True
    item_repeats: int = 0
    item_can_be_empty: bool = True
    item_repeatable: bool = False
    item_variable: int = 0
    variable: int = 0

    def take(self, repeats: int, variable: int = 0) -> None:
        """Begin the next item, which never matches the empty text."""
        self.close_item()
        self.item_repeats, self.item_can_be_empty, self.item_repeatable = repeats, False, True
        self.item_variable = variable

    def quantify(self, least: int, most: int) -> None:
        """Repeat the last item; raise `ValueError` without one, or if it is already repeated."""
        if not self.item_repeatable:
            raise ValueError("a pattern repeats one character, class or group at a time")
        if self.item_variable and most > 1:
            raise ValueError("a pattern may not repeat a group that has ?, *, + or {n,m} in it")
        self.item_variable += least != most
        self.item_repeats *= max(most, 1)
        self.item_can_be_empty = least == 0
        self.item_repeatable = False

    def close_item(self) -> None:
        """Count the last item."""
        self.repeats += self.item_repeats
        self.variable += self.item_variable
        self.branch_can_be_empty &= self.item_can_be_empty
        self.item_repeats, self.item_can_be_empty, self.item_repeatable, self.item_variable = 0, True, False, 0

    def close_branch(self) -> None:
        """End an alternative."""
        self.close_item()
        self.can_be_empty |= self.branch_can_be_empty
        self.branch_can_be_empty = True


def pattern_places(pattern: str) -> int:
    """Return the number of places of a pattern; raise `ValueError` for an unsupported one.

    A repetition of a possibly empty group may never end: llama.cpp does not return from `^(a?b?c?d?){0,200}x$`.
    """
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise ValueError(f"a pattern may have {PATTERN_CHARACTERS_MAX} characters at most")
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise ValueError("a pattern must describe the whole text, from ^ to $")
    groups = [_Group()]
    position, end = 1, len(pattern) - 1
    while position < end:
        token = _TOKEN.match(pattern, position, end)
        if token is None:
            raise ValueError("a pattern may have characters, classes such as [0-9], groups, | and repetitions only")
        _read(token, groups)
        position = token.end()
    if len(groups) > 1:
        raise ValueError("a pattern has a group that does not end")
    groups[0].close_branch()
    if groups[0].repeats > PATTERN_REPEATS_MAX:
        raise ValueError(f"a pattern may come to {PATTERN_REPEATS_MAX} characters, repetitions written out")
    if groups[0].variable > PATTERN_VARIABLE_MAX:
        raise ValueError(f"a pattern may have {PATTERN_VARIABLE_MAX} of ?, *, + and {{n,m}} at most")
    return groups[0].repeats


def _read(token: re.Match[str], groups: list[_Group]) -> None:
    group = groups[-1]
    match token.lastgroup:
        case "quantifier":
            group.quantify(*_bounds(token))
        case "open":
            groups.append(_Group())
        case "close":
            group.close_branch()
            groups.pop()
            if not groups:
                raise ValueError("a pattern ends a group that it did not begin")
            if group.can_be_empty:
                raise ValueError("a group of a pattern may not match the empty text")
            groups[-1].take(group.repeats, group.variable)
        case "either":
            group.close_branch()
        case _:
            _require_plain(token[0])
            group.take(1)


def _require_plain(atom: str) -> None:
    """Raise ValueError for a character or class that matches a special character of JSON strings."""
    try:
        one = re.compile(atom)
    except re.error as error:
        raise ValueError("a pattern has an invalid class") from error
    if any(one.fullmatch(each) for each in _BREAKS_JSON):
        raise ValueError("a pattern may not match quotation marks, backslashes or control characters")


def _bounds(token: re.Match[str]) -> tuple[int, int]:
    """Return the least number of repetitions, and the number of copies of the item."""
    simple = {"*": (0, _OPEN_ENDED_REPEATS), "+": (1, _OPEN_ENDED_REPEATS), "?": (0, 1)}
    if token["quantifier"] in simple:
        return simple[token["quantifier"]]
    least = int(token["least"])
    if token["comma"] is None:
        return least, least
    return least, int(token["most"]) if token["most"] else least + _OPEN_ENDED_REPEATS
