"""Rates that hold in every 60 seconds, and concurrency: one replica's part of each."""

import math
from collections import deque

from finpool.kernel.ids import RequestId
from finpool.quota.periods import WINDOW_SECONDS
from finpool.quota.schemas import Rate, RateKey, RateStatus

SMALL_PARTS = 32
"""A part of the limit's 32nd is small: holding or writing it more exactly would cost more than it frees."""


class SlidingWindow:
    """The amounts of the last 60 seconds, one entry per request; exact, unlike a token bucket, which allows double
    bursts.

    Entries are numbered, and held as plain numbers. As objects of their own, a minute of them was most of the objects
    that a full collection of cycles searches.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._amounts: dict[int, int] = {}
        self._numbers: dict[RequestId, int] = {}
        self._first = self._next = 0
        self._total = 0

    def total(self, now: float) -> int:
        """Return the amount within the window that ends at `now`."""
        times, oldest = self._times, now - WINDOW_SECONDS
        while times and times[0] <= oldest:
            times.popleft()
            self._total -= self._amounts.pop(self._first)
            self._first += 1
        return self._total

    def wait_ms(self, limit: int, amount: int, now: float) -> int | None:
        """Return the milliseconds until `amount` more fits under `limit`; 0 if it fits now, None if it never fits."""
        if amount > limit:
            return None
        excess = self.total(now) + amount - limit
        if excess <= 0:
            return 0
        for number, time in enumerate(self._times, self._first):
            excess -= self._amounts[number]
            if excess <= 0:
                # One more millisecond: the sum is rounded, and a client that retries too early is refused again.
                return max(0, math.ceil((time + WINDOW_SECONDS - now) * 1000)) + 1
        return None

    def add(self, request_id: RequestId, amount: int, now: float) -> None:
        """Count `amount` from now on."""
        self._times.append(now)
        self._amounts[self._next] = amount
        self._numbers[request_id] = self._next
        self._next += 1
        self._total += amount

    def correct(self, request_id: RequestId, amount: int, now: float) -> None:
        """Replace a reserved amount by the final one; the entry keeps its admission time."""
        number = self._numbers.pop(request_id)
        self.total(now)
        if number >= self._first:
            self._total += amount - self._amounts[number]
            self._amounts[number] = amount

    def reset_ms(self, now: float) -> int:
        """Return the milliseconds until the window is empty if nothing is added."""
        return max(0, int((self._times[-1] + WINDOW_SECONDS - now) * 1000)) if self._times else 0


class RateAllotment:
    """The part of one rate that this replica may use: the parts of all replicas together never pass the limit.

    `amount` is the part. Each replica stays within its part in any 60 seconds, so all together stay within the limit.
    `room` is the largest possible part beside the other replicas, as of the last answer of the account.
    """

    def __init__(self, key: RateKey, limit: int) -> None:
        self.key = key
        self.limit = limit
        self.amount = 0
        self.room = limit
        self.valid_until = 0.0
        self.asked_at = -math.inf
        self.used_at = -math.inf
        self.written = 0
        self._window = None if key.rate is Rate.CONCURRENCY else SlidingWindow()
        self._under_way = 0
        self._peak = 0

    @property
    def small_amount(self) -> int:
        """An amount so small beside the limit that other replicas do not miss it."""
        return self.limit // SMALL_PARTS

    def used(self, now: float) -> int:
        """Return the amount that counts against the part now."""
        return self._under_way if self._window is None else self._window.total(now)

    def held(self, now: float) -> int:
        """Return the usable part, which is 0 once the allotment was not renewed in time."""
        return min(self.amount, self.limit) if now < self.valid_until else 0

    def claimed(self, now: float) -> int:
        """Return the amount that the account must count: the part, or the larger use of an earlier part."""
        return max(self.amount, self.used(now))

    def fits(self, amount: int, now: float) -> bool:
        """Tell whether `amount` more stays within the part."""
        return self.used(now) + amount <= self.held(now)

    def take(self, request_id: RequestId, amount: int, now: float) -> None:
        """Count one request of at most `amount`."""
        self.used_at = now
        if self._window is None:
            self._under_way += 1
            self._peak = max(self._peak, self._under_way)
        else:
            self._window.add(request_id, amount, now)

    def give_back(self, request_id: RequestId, amount: int, now: float) -> None:
        """End a counted request; `amount` is its final use."""
        if self._window is None:
            self._under_way -= 1
        else:
            self._window.correct(request_id, amount, now)

    def wait_ms(self, amount: int, now: float) -> int | None:
        """Return the milliseconds until `amount` more may fit; None if it exceeds the limit itself."""
        if amount > self.limit:
            return None
        if self._window is None:
            return 500
        # Other replicas may return allotments at any time; they return unused ones about every second.
        return max(1, self._window.wait_ms(self.room, amount, now) or 1000)

    def status(self, now: float) -> RateStatus:
        """Return the rest of the rate, as far as this replica knows."""
        remaining = max(0, min(self.room, self.limit) - self.used(now))
        return RateStatus(self.limit, remaining, 0 if self._window is None else self._window.reset_ms(now))

    def relimit(self, limit: int) -> None:
        """Apply a new limit at once; below the old one the account must grant the part again before any use."""
        if limit < self.limit:
            self.amount = 0
        self.room = limit if limit > self.limit else min(self.room, limit)
        self.limit = limit

    def counted(self, tokens: int) -> int:
        """Return the counted amount of one request of at most `tokens`."""
        return tokens if self.key.rate is Rate.TOKENS else 1

    def amount_worth_keeping(self, now: float, idle_seconds: float) -> int:
        """Return the size to shrink the part to.

        It is its use if it is idle, and twice its use if it holds over eight times of it; a small part stays. The use
        of concurrency is the most since the last call.
        """
        used = max(self.used(now), self._peak)
        self._peak = self._under_way
        if now - self.asked_at < idle_seconds:
            return self.amount
        if now - self.used_at > idle_seconds:
            return min(self.amount, used)
        return 2 * used if self.amount > max(8 * used, self.small_amount) else self.amount

    def is_worth_writing(self, claimed: int) -> bool:
        """Tell whether the account must learn the claimed amount, or can give a part of the written one to others."""
        freed = self.written - claimed
        return freed < 0 or freed > self.small_amount or (freed > 0 and not claimed)
