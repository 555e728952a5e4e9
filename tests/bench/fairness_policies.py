"""The compared schedulers: all see a request's bounds and its usage so far, and none its length."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from fairness_engine import PREFILL_BOUND, Profile, Request, SimulatedEngine

from finpool.billing.service_share.entitlement import Entitlement
from finpool.catalogue.model.engine import EXPRESS_SLOTS
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.kernel.ids import TenantId

REQUESTS_PER_MINUTE = 5


class Policy(Protocol):
    """Decides when a request goes to the engine."""

    def arrive(self, request: Request, engine: SimulatedEngine) -> None:
        """Take a request; it may go at once, later or never."""

    def tokens(self, request: Request) -> None:
        """Learn that a request got a token."""

    def ended(self, request: Request, engine: SimulatedEngine) -> None:
        """Learn that a request ended; others may go."""


class FirstComeFirstServed:
    """One queue for all."""

    def __init__(self, profile: Profile, weights: Mapping[str, int]) -> None:
        self._free = profile.sequences_max
        self._queue: deque[Request] = deque()

    def arrive(self, request: Request, engine: SimulatedEngine) -> None:
        """Queue behind everybody."""
        self._queue.append(request)
        self._go(engine)

    def tokens(self, request: Request) -> None:
        """Not of interest here."""

    def ended(self, request: Request, engine: SimulatedEngine) -> None:
        """Let the next one go."""
        self._free += 1
        self._go(engine)

    def _go(self, engine: SimulatedEngine) -> None:
        while self._queue and self._free:
            self._free -= 1
            engine.submit(self._queue.popleft())


class RequestsPerMinute(FirstComeFirstServed):
    """The same, and requests above the limit of a minute are refused."""

    def __init__(self, profile: Profile, weights: Mapping[str, int]) -> None:
        super().__init__(profile, weights)
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def arrive(self, request: Request, engine: SimulatedEngine) -> None:
        """Queue, or be dropped."""
        recent = self._recent[request.tenant]
        while recent and recent[0] <= request.at - 60:
            recent.popleft()
        if len(recent) < REQUESTS_PER_MINUTE:
            recent.append(request.at)
            super().arrive(request, engine)


class Fair:
    """The gateway's own class: the very one that serves, with this engine's bounds.

    With `prefill` it bounds the prompts in a step, and the engine the part of each; without it both are as they were.
    """

    def __init__(self, profile: Profile, weights: Mapping[str, int], *, predicts: bool, prefill: bool = True) -> None:
        self.scheduler = FairScheduler(
            profile.sequences_max - EXPRESS_SLOTS,
            express_max=EXPRESS_SLOTS,
            prefill_bound=PREFILL_BOUND if prefill else None,
            entitled=lambda tenant: Entitlement(weights.get(tenant, 1)),
            predicts=predicts,
        )
        self._turns: dict[Request, Turn] = {}

    def arrive(self, request: Request, engine: SimulatedEngine) -> None:
        """Queue with the tenant's own."""
        length_bound = LengthBound(request.input_tokens, request.output_tokens_bound)
        waiting = Waiting(length_bound, partial(self._begin, request, engine), batch=request.batch)
        self.scheduler.arrive(TenantId(request.tenant), waiting)
        self.scheduler.dispatch()

    def tokens(self, request: Request) -> None:
        """Charge what was streamed."""
        self.scheduler.use(self._turns[request], input_tokens=request.input_tokens, output_tokens=request.made)

    def ended(self, request: Request, engine: SimulatedEngine) -> None:
        """Settle, and let the next ones go."""
        self.scheduler.end(self._turns.pop(request), input_tokens=request.input_tokens, output_tokens=request.made)
        self.scheduler.dispatch()

    def _begin(self, request: Request, engine: SimulatedEngine, turn: Turn) -> None:
        self._turns[request] = turn
        engine.submit(request)


POLICIES: dict[str, Callable[[Profile, Mapping[str, int]], Policy]] = {
    "FCFS": FirstComeFirstServed,
    f"RPM {REQUESTS_PER_MINUTE}": RequestsPerMinute,
    "VTC": partial(Fair, predicts=False, prefill=False),
    "VTC, predicted": partial(Fair, predicts=True),
}
UNBOUNDED_PROMPTS = "VTC, predicted, prompts unbounded"
"""The scheduler as it was before prompts were bounded; only the workload of long prompts shows a difference."""

OURS = "VTC, predicted"


def simulate(
    policy_name: str, profile: Profile, requests: Sequence[Request], seconds: float, weights: Mapping[str, int]
) -> SimulatedEngine:
    """Run requests, in the order of their arrival, for so long in virtual time; they are marked on the way."""
    policy = (
        Fair(profile, weights, predicts=True, prefill=False)
        if policy_name == UNBOUNDED_PROMPTS
        else POLICIES[policy_name](profile, weights)
    )
    if policy_name == OURS:
        profile = replace(profile, prompt_tokens=PREFILL_BOUND.prompt_tokens)
    engine = SimulatedEngine(profile, policy.tokens, lambda request: policy.ended(request, engine))
    coming = deque(requests)
    while engine.now < seconds and (coming or not engine.idle):
        if engine.idle:
            engine.now = max(engine.now, coming[0].at) if coming else engine.now
        while coming and coming[0].at <= engine.now:
            policy.arrive(coming.popleft(), engine)
        if not engine.idle:
            engine.step()
    return engine
