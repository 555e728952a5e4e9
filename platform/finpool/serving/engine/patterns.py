r"""The patterns of a schema in llguidance's words, with the meaning that ECMA 262 gives them in JSON schemas.

llguidance reads `\d` and `\w` as ECMA 262 does. Its `.` takes more ends of a line, and its `\s` differs by two
characters.
"""

import re
from typing import Any

from finpool.serving.engine.schema_keywords import with_parts

_SPACES = r"\t\n\x0B\f\r \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF"
_MEANINGS = {r"\s": f"[{_SPACES}]", r"\S": f"[^{_SPACES}]"}
_ANY = r"[^\n\r\u2028\u2029]"
_PART = re.compile(r"\\.|\[|\]|\.", re.DOTALL)


def with_ecma_patterns(schema: Any) -> Any:
    """Return a schema whose patterns mean to llguidance as much as to ECMA 262."""
    if not isinstance(schema, dict):
        return schema
    changed = with_parts(schema, with_ecma_patterns)
    if isinstance(pattern := changed.get("pattern"), str):
        changed["pattern"] = ecma_pattern(pattern)
    if isinstance(named := changed.get("patternProperties"), dict):
        changed["patternProperties"] = {ecma_pattern(name): part for name, part in named.items()}
    return changed


def ecma_pattern(pattern: str) -> str:
    """Return a pattern of ECMA 262 in llguidance's words."""
    in_class = False

    def meaning(part: re.Match[str]) -> str:
        nonlocal in_class
        if part[0] in "[]":
            in_class = part[0] == "["
        if part[0] == "." and not in_class:
            return _ANY
        return _MEANINGS.get(part[0], part[0])

    return _PART.sub(meaning, pattern)
