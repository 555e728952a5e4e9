"""How often a request may be sent again: so seldom that repetitions never add up to a storm."""

RETRIES_PER_REQUEST = 0.1
RETRIES_SAVED_MAX = 10.0


class RetryBudget:
    """One retry for ten requests to a backend, and a few that were saved up while nothing had to be sent again."""

    def __init__(self) -> None:
        self._left = RETRIES_SAVED_MAX

    def earn(self) -> None:
        """Count a request."""
        self._left = min(self._left + RETRIES_PER_REQUEST, RETRIES_SAVED_MAX)

    def take(self) -> bool:
        """Tell whether a request may be sent again, and count that it is."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
