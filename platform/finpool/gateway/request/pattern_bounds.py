"""The regular expressions that engines take: those of ECMA 262 whose meaning no engine changes, in bounds.

llguidance matches them without going back, and gives up on a token that would cost too much. So the bounds keep usual
patterns from ending so; none of them guards the engine alone.
"""

import re
from dataclasses import dataclass

PATTERN_CHARACTERS_MAX = 256

PATTERN_REPEATS_MAX = 256
"""The characters of a pattern after its repetitions are written out, nested ones multiplied.

A text may be at each of these places at once, and the engine tries every token of the vocabulary at each place.
"""

PATTERN_VARIABLE_MAX = 16
"""Repetitions with a variable number, such as `?` and `{1,3}`: side by side they multiply such places."""

_OPEN_ENDED_REPEATS = 2
"""`*` and `+` become recursive rules, not copies."""

_ESCAPES = r"\\[dwsDWS]|\\[nrtfv]|\\[.$^|()\[\]{}*+?/\\\"-]"
_TOKEN = re.compile(
    r"(?P<quantifier>[*+?]|\{(?P<least>\d{1,4})(?P<comma>,(?P<most>\d{1,4})?)?\})"
    r"|(?P<open>\((?:\?:)?(?!\?))|(?P<close>\))|(?P<either>\|)"
    rf"|(?P<klass>\[\^?(?:{_ESCAPES}|(?!--|&&|~~)[^\\\[\]])+\])"
    rf"|(?P<atom>{_ESCAPES}|\.|[^\\\[\](){{}}*+?|^$.])",
)
_RANGE_OF_CLASS = re.compile(r"\\[dwsDWS]-[^\]]|[^\[^]-\\[dwsDWS]")
"""`[\\d-z]` is two ways of reading it, and engines differ."""


@dataclass(slots=True)
class _Group:
    """A group, or the whole pattern, during parsing; an item is a character, a class or a closed group."""

    repeats: int = 0
    item_repeats: int = 0
    item_repeatable: bool = False

    def take(self, repeats: int) -> None:
        """Begin the next item."""
        self.close_item()
        self.item_repeats, self.item_repeatable = repeats, True

    def quantify(self, most: int) -> None:
        """Repeat the last item; raise `ValueError` without one, or if it is already repeated."""
        if not self.item_repeatable:
            raise ValueError("a pattern repeats one character, class or group at a time")
        self.item_repeats *= max(most, 1)
        self.item_repeatable = False

    def close_item(self) -> None:
        """Count the last item."""
        self.repeats += self.item_repeats
        self.item_repeats, self.item_repeatable = 0, False


def pattern_places(pattern: str) -> int:
    """Return the number of places of a pattern; raise `ValueError` for an unsupported one."""
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise ValueError(f"a pattern may have {PATTERN_CHARACTERS_MAX} characters at most")
    position, end = int(pattern.startswith("^")), len(pattern)
    if re.search(r"(?<!\\)(\\\\)*\$$", pattern):
        end -= 1
    groups = [_Group()]
    variable = 0
    while position < end:
        token = _TOKEN.match(pattern, position, end)
        if token is None:
            raise ValueError(
                "a pattern may have characters, '.', classes such as [0-9] and \\d, groups, | and repetitions only,"
                " and ^ and $ at its ends"
            )
        variable += _read(token, groups)
        position = token.end()
    if len(groups) > 1:
        raise ValueError("a pattern has a group that does not end")
    groups[0].close_item()
    if groups[0].repeats > PATTERN_REPEATS_MAX:
        raise ValueError(f"a pattern may come to {PATTERN_REPEATS_MAX} characters, repetitions written out")
    if variable > PATTERN_VARIABLE_MAX:
        raise ValueError(f"a pattern may have {PATTERN_VARIABLE_MAX} of ?, *, + and {{n,m}} at most")
    return groups[0].repeats


def _read(token: re.Match[str], groups: list[_Group]) -> bool:
    """Read one token; tell whether it repeats an item a variable number of times."""
    group = groups[-1]
    match token.lastgroup:
        case "quantifier":
            least, most = _bounds(token)
            group.quantify(most)
            return least != most
        case "open":
            groups.append(_Group())
        case "close":
            group.close_item()
            groups.pop()
            if not groups:
                raise ValueError("a pattern ends a group that it did not begin")
            groups[-1].take(group.repeats)
        case "either":
            group.close_item()
        case "klass":
            _require_one_meaning(token[0])
            group.take(1)
        case _:
            group.take(1)
    return False


def _require_one_meaning(klass: str) -> None:
    try:
        re.compile(klass)
    except re.error as error:
        raise ValueError("a pattern has an invalid class") from error
    if _RANGE_OF_CLASS.search(klass):
        raise ValueError("a pattern has a range from or to a class; write '\\-' for the character")


def _bounds(token: re.Match[str]) -> tuple[int, int]:
    """Return the least number of repetitions, and the number of copies of the item."""
    simple = {"*": (0, _OPEN_ENDED_REPEATS), "+": (1, _OPEN_ENDED_REPEATS), "?": (0, 1)}
    if token["quantifier"] in simple:
        return simple[token["quantifier"]]
    least = int(token["least"])
    if token["comma"] is None:
        return least, least
    most = int(token["most"]) if token["most"] else least + _OPEN_ENDED_REPEATS
    if most < least:
        raise ValueError("a pattern repeats something at most less often than at least")
    return least, most
