"""Display names, in any script."""

import unicodedata

import idna

NAME_LENGTH_MAX = 200

JOINERS = frozenset({"\u200c", "\u200d"})
"""Invisible characters that Persian, Hindi, Sinhala and others need to join letters or to keep them apart."""

_MISLEADING = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cs"})
"""Unicode categories: controls, formats (invisible or bidirectional), line ends, private use, surrogates."""


def plain_name(value: str) -> str:
    """Return the name without surrounding white space; raise ValueError if it holds invisible or control characters.

    Names stand in logs, tables and audit records, so two names that look the same must be the same. The length after
    stripping is 1 to `NAME_LENGTH_MAX` characters.
    """
    name = plain_text(value)
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise ValueError(f"must have 1 to {NAME_LENGTH_MAX} characters")
    return name


def plain_text(value: str) -> str:
    """Return a text of any length without surrounding white space; raise ValueError for the characters of no name.

    A joiner is taken only where it changes the letters beside it, by the rules of internationalised domain names
    (RFC 5892, appendix A).
    """
    text = value.strip()
    if any(unicodedata.category(character) in _MISLEADING for character in text if character not in JOINERS):
        raise ValueError("must not hold control characters or invisible ones")
    for position, character in enumerate(text):
        if character in JOINERS and not _changes_letters(text, position):
            joiner = f"U+{ord(character):04X} ({unicodedata.name(character)})"
            raise ValueError(f"must not hold {joiner} where it joins or parts no letters")
    return text


def _changes_letters(text: str, position: int) -> bool:
    try:
        return idna.valid_contextj(text, position)
    except ValueError:  # The character before it is not assigned.
        return False
