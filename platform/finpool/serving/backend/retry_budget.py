"""The retry budget: it bounds repeated requests to a tenth of all, so that retries cannot overload a backend."""

RETRIES_PER_REQUEST = 0.1
RETRIES_SAVED_MAX = 10.0


class RetryBudget:
    """The retries left for one backend: 0.1 per request, and at most 10 saved."""

    def __init__(self) -> None:
        self._left = RETRIES_SAVED_MAX

    def earn(self) -> None:
        """Add the tenth of a retry that one request earns."""
        self._left = min(self._left + RETRIES_PER_REQUEST, RETRIES_SAVED_MAX)

    def take(self) -> bool:
        """Take one retry from the budget; return False if less than one is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
