"""A circuit breaker before each backend: while it fails, requests are refused at once instead of waiting for it."""

import math
from collections.abc import Callable
from enum import StrEnum

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.logs import logger
from finpool.serving.errors import EngineBusy, EngineFailed, EngineUnavailable, ModelCold

_log = logger("serving.breaker")


class BreakerState(StrEnum):
    """`half_open`: one request is on its way to find out whether the backend works again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `failures_max` failures of the backend in a row, for `open_seconds`; then one request tries it.

    Failures are what the backend did: it was out of reach, answered with a server's error, broke off, or fell silent.
    That a caller left, or sent what cannot be served, says nothing against it.
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
        self.state = BreakerState.CLOSED

    def enter(self) -> "BreakerPermit":
        """Let a request through, or raise `EngineUnavailable`; the permit has to be ended."""
        if self.state is BreakerState.CLOSED:
            return BreakerPermit(self, probe=False)
        wait_seconds = self._opened_at + self._open_seconds - self._clock()
        if self.state is BreakerState.HALF_OPEN or wait_seconds > 0:
            seconds = max(1, math.ceil(wait_seconds))
            raise EngineUnavailable(
                "The model has failed repeatedly and is not asked for the moment.",
                headers={"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)},
            )
        self.state = BreakerState.HALF_OPEN
        return BreakerPermit(self, probe=True)

    def succeeded(self, *, probe: bool) -> None:
        """The backend did its work. One that began before the breaker opened proves nothing about now."""
        if probe:
            _log.info("a backend works again", backend=self._backend_id)
            self.state = BreakerState.CLOSED
        if self.state is BreakerState.CLOSED:
            self._failures = 0

    def failed(self, error: Exception, *, probe: bool) -> None:
        """The backend failed; what failed only after the breaker opened does not keep it open for longer."""
        self._failures += 1
        if probe or (self.state is BreakerState.CLOSED and self._failures >= self._failures_max):
            if not probe:
                _log.error("a backend is not asked for now", backend=self._backend_id, last_error=type(error).__name__)
            self.state, self._opened_at = BreakerState.OPEN, self._clock()

    def undecided(self, *, probe: bool) -> None:
        """The request ended before the backend had shown anything; another one may try at once."""
        if probe:
            self.state = BreakerState.OPEN


class BreakerPermit:
    """One request's way through a breaker. As `with`, it takes note of how the backend failed within the block."""

    __slots__ = ("_breaker", "_failure", "_probe")

    def __init__(self, breaker: Breaker, *, probe: bool) -> None:
        self._breaker = breaker
        self._probe = probe
        self._failure: Exception | None = None

    def __enter__(self) -> None:
        """Begin to watch."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Keep a failure of the backend's."""
        if isinstance(error, EngineFailed | EngineUnavailable):
            self.note(error)

    def note(self, failure: EngineFailed | EngineUnavailable) -> None:
        """Keep a failure that was seen elsewhere; a backend that says it is busy works, and one that sleeps has to."""
        if not isinstance(failure, EngineBusy | ModelCold):
            self._failure = failure

    def worked(self) -> None:
        """The backend answers: whoever tried it has found out, and others need not wait until its answer is over."""
        if self._probe:
            self._breaker.succeeded(probe=True)
            self._probe = False

    def end(self, *, worked: bool) -> None:
        """Tell the breaker what was seen; a request that ended before the backend showed anything decides nothing."""
        if self._failure is not None:
            self._breaker.failed(self._failure, probe=self._probe)
        elif worked:
            self._breaker.succeeded(probe=self._probe)
        else:
            self._breaker.undecided(probe=self._probe)


class Breakers:
    """The breakers of one process, one before each backend that it ever asked."""

    def __init__(self, failures_max: int, open_seconds: float) -> None:
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._breakers: dict[str, Breaker] = {}

    def before(self, backend_id: str) -> Breaker:
        """Return the breaker before a backend."""
        known = self._breakers.get(backend_id)
        if known is None:
            known = self._breakers[backend_id] = Breaker(
                backend_id, failures_max=self._failures_max, open_seconds=self._open_seconds
            )
        return known

    def asked(self) -> dict[str, bool]:
        """Tell of each backend whether it is asked, or left alone for now; safe to call from another thread."""
        return {backend_id: each.state is BreakerState.CLOSED for backend_id, each in list(self._breakers.items())}
