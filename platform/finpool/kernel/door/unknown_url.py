"""The refusal of a path that a door does not have: it says why, and which paths the door has."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from finpool.kernel.errors import RouteNotFound

NAMED_MAX = 16
NEAREST_MAX = 5
NEAREST_SIMILARITY_MIN = 0.4
SHOWN_LENGTH_MAX = 100
"""The length of a path that is shown and compared, because anybody may send a long one."""


def unknown_url(method: str, path: str, served: Collection[str], absent: Mapping[str, str]) -> RouteNotFound:
    """Return the refusal. `absent` are beginnings of paths that clients may know from elsewhere, with the reason."""
    shown = path[:SHOWN_LENGTH_MAX]
    parts = [f"Unknown request URL: {method} {shown}."]
    beginnings = [each for each in absent if path == each or path.startswith(f"{each}/")]
    if beginnings:
        parts.append(f"It is not served: {absent[max(beginnings, key=len)]}.")
    if len(served) <= NAMED_MAX:
        parts.append(f"This API has {', '.join(sorted(served))}.")
    elif nearest := get_close_matches(shown, served, NEAREST_MAX, NEAREST_SIMILARITY_MIN):
        parts.append(f"The nearest paths are {', '.join(nearest)}.")
    return RouteNotFound(" ".join(parts))
