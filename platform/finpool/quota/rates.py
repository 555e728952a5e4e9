"""Rates that hold in every 60 seconds, not only on average."""

import math
from collections import deque

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import RequestId, TenantId
from finpool.quota.errors import RateLimitExceeded, RequestAboveLimit
from finpool.quota.schemas import Limits, RateStatus

WINDOW_SECONDS = 60.0


class SlidingWindow:
    """Amounts of the last 60 seconds, one entry a request: exact, unlike a bucket that lets a burst pass twice."""

    def __init__(self) -> None:
        self._entries: deque[list[float | int]] = deque()  # [time in seconds, amount]
        self._by_request: dict[RequestId, list[float | int]] = {}
        self._total = 0

    def total(self, now: float) -> int:
        """Return the amount within the window that ends `now`."""
        while self._entries and self._entries[0][0] <= now - WINDOW_SECONDS:
            self._total -= int(self._entries.popleft()[1])
        return self._total

    def wait_ms(self, limit: int, amount: int, now: float) -> int | None:
        """Return milliseconds until `amount` more fits under `limit`; 0 if it fits now, None if it never will."""
        if amount > limit:
            return None
        excess = self.total(now) + amount - limit
        if excess <= 0:
            return 0
        for time, taken in self._entries:
            excess -= int(taken)
            if excess <= 0:
                # A millisecond more: the sum above is rounded, and a client that is told too little comes in vain.
                return max(0, math.ceil((time + WINDOW_SECONDS - now) * 1000)) + 1
        return None

    def add(self, request_id: RequestId, amount: int, now: float) -> None:
        """Count `amount` from now on."""
        entry: list[float | int] = [now, amount]
        self._entries.append(entry)
        self._by_request[request_id] = entry
        self._total += amount

    def correct(self, request_id: RequestId, amount: int, now: float) -> None:
        """Put the final amount in place of the reserved one; the time stays that of the admission."""
        entry = self._by_request.pop(request_id)
        self.total(now)
        if entry[0] > now - WINDOW_SECONDS:
            self._total += amount - int(entry[1])
        entry[1] = amount

    def status(self, limit: int, now: float) -> RateStatus:
        """Tell what is left under `limit`."""
        total = self.total(now)
        reset = (self._entries[-1][0] + WINDOW_SECONDS - now) if self._entries else 0.0
        return RateStatus(limit=limit, remaining=max(0, limit - total), reset_ms=max(0, int(reset * 1000)))


class TenantRates:
    """The rates and the concurrency of one tenant on this replica."""

    def __init__(self, tenant_id: TenantId) -> None:
        self._tenant_id = tenant_id
        self._requests = SlidingWindow()
        self._tokens = SlidingWindow()
        self.under_way = 0

    def take(self, limits: Limits, request_id: RequestId, tokens: int, now: float) -> None:
        """Count one request of at most `tokens`, or raise and count nothing."""
        if limits.concurrency is not None and self.under_way >= limits.concurrency:
            message = f"Limit of {limits.concurrency} concurrent requests reached for tenant {self._tenant_id}."
            raise RateLimitExceeded(message, 500) if limits.concurrency else RequestAboveLimit(message)
        if limits.requests_per_minute is not None:
            self._check(self._requests, limits.requests_per_minute, 1, "requests", now)
        if limits.tokens_per_minute is not None:
            self._check(self._tokens, limits.tokens_per_minute, tokens, "tokens", now)
        self._requests.add(request_id, 1, now)
        self._tokens.add(request_id, tokens, now)
        self.under_way += 1

    def give_back(self, request_id: RequestId, *, requests: int, tokens: int, now: float) -> None:
        """End a request that was taken: it used `tokens` in the end, and counts as `requests` (0 if refused)."""
        self._requests.correct(request_id, requests, now)
        self._tokens.correct(request_id, tokens, now)
        self.under_way -= 1

    def status(self, limits: Limits, now: float) -> dict[str, RateStatus]:
        """Tell what is left of each limited rate, by its name in the headers."""
        found = {}
        if limits.requests_per_minute is not None:
            found["requests"] = self._requests.status(limits.requests_per_minute, now)
        if limits.tokens_per_minute is not None:
            found["tokens"] = self._tokens.status(limits.tokens_per_minute, now)
        return found

    def _check(self, window: SlidingWindow, limit: int, amount: int, unit: str, now: float) -> None:
        wait_ms = window.wait_ms(limit, amount, now)
        if wait_ms == 0:
            return
        message = (
            f"Limit of {limit} {unit} per minute reached for tenant {self._tenant_id}: "
            f"{max(0, limit - window.total(now))} left, {amount} needed."
        )
        error: DomainError = RequestAboveLimit(message) if wait_ms is None else RateLimitExceeded(message, wait_ms)
        raise error
