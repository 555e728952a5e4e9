"""How fast a budget is being spent: the size of a lease follows it."""

_SPAN_SECONDS = 10.0


class SpendMeter:
    """What was spent in the last ten to twenty seconds, in picos."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._current = 0
        self._previous = 0

    def add(self, amount_picos: int, now: float) -> None:
        """Count what a request cost."""
        self._turn(now)
        self._current += amount_picos

    def recent_picos(self, now: float) -> int:
        """Return what was spent of late."""
        self._turn(now)
        return self._current + self._previous

    def _turn(self, now: float) -> None:
        passed = now - self._since
        if passed >= _SPAN_SECONDS:
            self._previous = self._current if passed < 2 * _SPAN_SECONDS else 0
            self._current = 0
            self._since = now
