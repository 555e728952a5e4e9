"""How much of what an engine took on is still to be computed, by what the gateway expects of each request."""


class WorkAhead:
    """The service that is ahead of one engine. Not for several threads."""

    def __init__(self) -> None:
        self.service = 0

    def begin(self, expected_service: int) -> "Work":
        """Take on a request of which so much service is expected; whoever begins it ends it."""
        return Work(self, expected_service)


class Work:
    """One request's part of it: less with every token, and nothing once the request has ended."""

    __slots__ = ("_ahead", "_expected", "_left")

    def __init__(self, ahead: WorkAhead, expected_service: int) -> None:
        self._ahead = ahead
        self._expected = self._left = expected_service
        ahead.service += expected_service

    def computed(self, service: int) -> None:
        """Take note of the service that the request was given so far, in total; more than expected leaves nothing."""
        left = max(0, self._expected - service)
        self._ahead.service += left - self._left
        self._left = left

    def end(self) -> None:
        """Take the rest away, however the request ended."""
        self.computed(self._expected)
