"""Display names, in any script."""

import unicodedata

NAME_LENGTH_MAX = 200

_MISLEADING = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cs"})
"""Unicode categories: controls, formats (invisible or bidirectional), line ends, private use, surrogates."""


def plain_name(value: str) -> str:
    """Return the name without surrounding white space; raise ValueError if it holds invisible or control characters.

    Names stand in logs, tables and audit records, so two names that look the same must be the same. The length after
    stripping is 1 to `NAME_LENGTH_MAX` characters.
    """
    name = value.strip()
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise ValueError(f"must have 1 to {NAME_LENGTH_MAX} characters")
    if any(unicodedata.category(character) in _MISLEADING for character in name):
        raise ValueError("must not hold control characters or invisible ones")
    return name
