"""What people may call a thing, in any script."""

import unicodedata

NAME_LENGTH_MAX = 200

_MISLEADING = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cs"})
"""Unicode's controls, invisible formats (they turn text around or hide in it), line ends, private use, surrogates."""


def plain_name(value: str) -> str:
    """Return the name without the white space around it; raise ValueError if it is not what it looks like.

    A name stands in logs, tables and audit records, where two that look the same must be the same.
    """
    name = value.strip()
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise ValueError(f"must have 1 to {NAME_LENGTH_MAX} characters")
    if any(unicodedata.category(character) in _MISLEADING for character in name):
        raise ValueError("must not hold control characters or invisible ones")
    return name
