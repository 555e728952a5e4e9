"""Circuit breakers: after several failures in a row, a backend's requests are refused at once."""

import math
from collections.abc import Callable
from enum import StrEnum

from finpool.kernel.answer_headers import retry_after
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.logs import logger
from finpool.serving.errors import EngineBusy, EngineFailed, EngineLate, EngineSilent, EngineUnavailable, ModelCold

_log = logger("serving.breaker")


class BreakerState(StrEnum):
    """The state of a breaker. In `half_open` one request is testing the backend."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """A breaker that opens after `failures_max` failures in a row, for `open_seconds`; then one request tests the
    backend.

    A failure is an unreachable backend, a server error, a broken answer or a timeout. A caller that left, or a request
    that the backend refused, is no failure. Nor is the timeout of a backend that sent something to another request
    meanwhile, or that computes the request's own long prompt.
    """

    def __init__(
        self,
        backend_id: str,
        *,
        failures_max: int,
        open_seconds: float,
        clock: Callable[[], float] = monotonic_seconds,
    ) -> None:
        self._backend_id = backend_id
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at = 0.0
        self._heard_at = -math.inf
        self.state = BreakerState.CLOSED

    def enter(self) -> "BreakerPermit":
        """Return a permit for one request, or raise `EngineUnavailable`; the caller must end the permit."""
        if self.state is BreakerState.CLOSED:
            return BreakerPermit(self, probe=False)
        wait_seconds = self._opened_at + self._open_seconds - self._clock()
        if self.state is BreakerState.HALF_OPEN or wait_seconds > 0:
            seconds = max(1, math.ceil(wait_seconds))
            raise EngineUnavailable(
                "The model has failed repeatedly and is not asked for the moment.",
                headers=retry_after(seconds * 1000),
            )
        self.state = BreakerState.HALF_OPEN
        return BreakerPermit(self, probe=True)

    def heard(self) -> float:
        """Note that the backend sent something; return the time."""
        self._heard_at = self._clock()
        return self._heard_at

    def heard_since(self, at: float) -> bool:
        """Tell whether the backend sent something to any request after `at`."""
        return self._heard_at > at

    def now(self) -> float:
        """Return the time of the breaker's clock."""
        return self._clock()

    def succeeded(self, *, probe: bool) -> None:
        """Record a success. A request that began before the breaker opened does not close it; only the probe does."""
        if probe:
            _log.info("a backend's breaker closed", backend=self._backend_id)
            self.state = BreakerState.CLOSED
        if self.state is BreakerState.CLOSED:
            self._failures = 0

    def failed(self, error: Exception, *, probe: bool) -> None:
        """Record a failure; a failure while the breaker is open does not prolong it."""
        self._failures += 1
        if probe or (self.state is BreakerState.CLOSED and self._failures >= self._failures_max):
            if not probe:
                _log.error("a backend's breaker opened", backend=self._backend_id, last_error=type(error).__name__)
            self.state, self._opened_at = BreakerState.OPEN, self._clock()

    def undecided(self, *, probe: bool) -> None:
        """Record a request that ended without a result; the next request may probe at once."""
        if probe:
            self.state = BreakerState.OPEN


class BreakerPermit:
    """The permit of one request to pass a breaker. As a context manager it notes a failure raised within its block.

    `patient` is whether the request's own prompt may take longer than any timeout.
    """

    __slots__ = ("_breaker", "_failure", "_probe", "_waits_since", "patient")

    def __init__(self, breaker: Breaker, *, probe: bool) -> None:
        self._breaker = breaker
        self._probe = probe
        self._failure: Exception | None = None
        self._waits_since = -math.inf
        self.patient = False

    def __enter__(self) -> None:
        """Start to watch for a failure."""
        self._waits_since = self._breaker.now()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Note an `EngineFailed` or `EngineUnavailable`."""
        if isinstance(error, EngineFailed | EngineUnavailable):
            self.note(error)

    def note(self, failure: EngineFailed | EngineUnavailable) -> None:
        """Note a failure that was caught elsewhere. A busy or a cold engine works, so neither counts.

        Nor does the timeout of an engine that is at work on a prompt.
        """
        if isinstance(failure, EngineLate | EngineSilent):
            works = self.patient or self._breaker.heard_since(self._waits_since)
        else:
            works = isinstance(failure, EngineBusy | ModelCold)
        if not works:
            self._failure = failure

    def heard(self) -> None:
        """Note that the backend sent a part of this request's answer."""
        self._waits_since = self._breaker.heard()
        self.patient = False

    def worked(self) -> None:
        """Close the breaker as soon as the probe's backend begins to answer, before the answer ends."""
        if self._probe:
            self._breaker.succeeded(probe=True)
            self._probe = False

    def end(self, *, worked: bool) -> None:
        """Report the noted failure, the success, or no result to the breaker."""
        if self._failure is not None:
            self._breaker.failed(self._failure, probe=self._probe)
        elif worked:
            self._breaker.succeeded(probe=self._probe)
        else:
            self._breaker.undecided(probe=self._probe)


class Breakers:
    """The breakers of one process, one for each backend that it has called."""

    def __init__(self, failures_max: int, open_seconds: float) -> None:
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._breakers: dict[str, Breaker] = {}

    def before(self, backend_id: str) -> Breaker:
        """Return the breaker of a backend."""
        known = self._breakers.get(backend_id)
        if known is None:
            known = self._breakers[backend_id] = Breaker(
                backend_id, failures_max=self._failures_max, open_seconds=self._open_seconds
            )
        return known

    def closed_by_backend(self) -> dict[str, bool]:
        """Return for each backend whether its breaker is closed; safe to call from another thread."""
        return {backend_id: each.state is BreakerState.CLOSED for backend_id, each in list(self._breakers.items())}
