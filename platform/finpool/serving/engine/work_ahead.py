"""The work ahead of an engine replica: the expected service of its requests that is not computed yet."""


class WorkAhead:
    """The work ahead of one engine replica. Not thread-safe."""

    def __init__(self) -> None:
        self.service = 0

    def begin(self, expected_service: int) -> "Work":
        """Add a request with this expected service; the caller ends the returned work."""
        return Work(self, expected_service)


class Work:
    """One request's part of the work ahead: it falls with every token, and is zero once the request has ended."""

    __slots__ = ("_ahead", "_expected", "_left")

    def __init__(self, ahead: WorkAhead, expected_service: int) -> None:
        self._ahead = ahead
        self._expected = self._left = expected_service
        ahead.service += expected_service

    def computed(self, service: int) -> None:
        """Set the service computed so far, in total; above the expected service the rest is zero."""
        left = max(0, self._expected - service)
        self._ahead.service += left - self._left
        self._left = left

    def end(self) -> None:
        """Remove the rest, regardless of how the request ended."""
        self.computed(self._expected)
