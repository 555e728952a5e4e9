"""The refusal of a path that a door does not have: it says why, and which paths the door has."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import RouteNotFound

NAMED_MAX = 16
NEAREST_MAX = 5
NEAREST_SIMILARITY_MIN = 0.4
SHOWN_LENGTH_MAX = 100
"""The length of a path that is shown, because anybody may send a long one."""

SEARCHED_LENGTH_MAX = 64
"""The length of a path whose nearest paths are searched: the time grows with its square."""

SEARCHES_PER_SECOND_MAX = 10
"""Searches of one door in a second. Each takes half a millisecond or more, before any key is checked."""


class SearchBudget:
    """The searches that a door may still make in this second."""

    def __init__(self) -> None:
        self._second = 0
        self._left = 0

    def take(self) -> bool:
        """Take one search; return False if this second has none left."""
        second = int(monotonic_seconds())
        if second != self._second:
            self._second, self._left = second, SEARCHES_PER_SECOND_MAX
        self._left -= 1
        return self._left >= 0


def unknown_url(
    method: str, path: str, served: Collection[str], absent: Mapping[str, str], searches: SearchBudget
) -> RouteNotFound:
    """Return the refusal. `absent` are beginnings of paths that clients may know from elsewhere, with the reason."""
    shown = path[:SHOWN_LENGTH_MAX]
    parts = [f"Unknown request URL: {method} {shown}."]
    beginnings = [each for each in absent if path == each or path.startswith(f"{each}/")]
    if beginnings:
        parts.append(f"It is not served: {absent[max(beginnings, key=len)]}.")
    if len(served) <= NAMED_MAX:
        parts.append(f"This API has {', '.join(sorted(served))}.")
    elif len(path) <= SEARCHED_LENGTH_MAX and searches.take():
        nearest = get_close_matches(path, served, NEAREST_MAX, NEAREST_SIMILARITY_MIN)
        if nearest:
            parts.append(f"The nearest paths are {', '.join(nearest)}.")
    return RouteNotFound(" ".join(parts))
