"""Several gateways before one engine, in virtual time: each has the queue that serves, and they sync as they do.

Every gateway syncs once in so many seconds, one after the other, so what it reads is up to that old.
"""

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairness_engine import ACCELERATOR, Profile, Request, SimulatedEngine
from fairness_measures import Measures, measure
from fairness_policies import Fair
from fairness_workloads import SECONDS, Workload, in_order, steady

from finpool.gateway.peers.balance import PeerBalance
from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.peers.sync import SYNC_SECONDS

GATEWAYS = 3


@dataclass(slots=True, eq=False)
class Sent(Request):
    """A request, and the gateway that it comes to."""

    gateway: int = 0


class Gateways:
    """The gateways of one engine, apart as if each were alone, or together."""

    def __init__(self, profile: Profile, weights: Mapping[str, int], *, together: bool) -> None:
        self._gateways = [Fair(profile, weights, predicts=True) for _ in range(GATEWAYS)]
        self._balances = [PeerBalance(each.scheduler) for each in self._gateways]
        self._told: dict[str, GatewayStanding] = {}
        self._together = together
        # They have been up for a while when the first request comes.
        self._next = -2 * GATEWAYS
        self.in_flight_max = 0
        self.slots_max = 0

    def sync_until(self, now: float) -> None:
        """Hold every sync that is due."""
        while self._together and SYNC_SECONDS * self._next / GATEWAYS <= now:
            number = self._next % GATEWAYS
            balance = self._balances[number]
            told = balance.meet({run: each for run, each in self._told.items() if run != f"run{number}"})
            self._told[f"run{number}"] = told
            balance.hold(told.slots)
            self._next += 1
            if self._next > 0:
                self.slots_max = max(self.slots_max, sum(each.slots for each in self._balances))

    def arrive(self, request: Request, engine: SimulatedEngine) -> None:
        """Let a request come to its gateway."""
        self._of(request).arrive(request, engine)

    def tokens(self, request: Request) -> None:
        """Let its gateway charge what was streamed."""
        self._of(request).tokens(request)

    def ended(self, request: Request, engine: SimulatedEngine) -> None:
        """Let its gateway settle, and others begin."""
        self._of(request).ended(request, engine)

    def note_in_flight(self) -> None:
        """Remember the most that were under way at once."""
        self.in_flight_max = max(self.in_flight_max, sum(each.scheduler.in_flight for each in self._gateways))

    def _of(self, request: Request) -> Fair:
        assert isinstance(request, Sent)
        return self._gateways[request.gateway]


@dataclass(frozen=True, slots=True)
class Together:
    """What several gateways did with a workload; the most slots that they held and requests that were under way."""

    measures: Measures
    slots_max: int
    in_flight_max: int

    def parts(self, workload: Workload) -> dict[str, float]:
        """Return what each backlogged tenant was served by its weight, beside the average of them; 1 is fair."""
        by_weight = {each: self.measures.service[each] / workload.weights.get(each, 1) for each in workload.backlogged}
        return {each: served / statistics.fmean(by_weight.values()) for each, served in by_weight.items()}


def simulate_gateways(workload: Workload, *, together: bool, profile: Profile = ACCELERATOR) -> Together:
    """Run a workload through the gateways in virtual time."""
    gateways = Gateways(profile, workload.weights, together=together)
    engine = SimulatedEngine(profile, gateways.tokens, lambda request: gateways.ended(request, engine))
    coming = deque(workload.requests)
    while engine.now < SECONDS and (coming or not engine.idle):
        if engine.idle:
            engine.now = max(engine.now, coming[0].at) if coming else engine.now
        while coming and coming[0].at <= engine.now:
            gateways.arrive(coming.popleft(), engine)
        gateways.sync_until(engine.now)
        if engine.idle:
            engine.now += SYNC_SECONDS / GATEWAYS
        else:
            engine.step()
        gateways.note_in_flight()
    measures = measure(engine, workload.requests, SECONDS, workload.weights)
    return Together(measures, gateways.slots_max, gateways.in_flight_max)


def at(gateways: Sequence[int], requests: Sequence[Request]) -> list[Request]:
    """Let requests come to these gateways in turn; one that is named twice gets twice as many."""
    return [
        Sent(each.at, each.tenant, each.input_tokens, each.output_tokens, gateway=gateways[number % len(gateways)])
        for number, each in enumerate(requests)
    ]


def each_at_its_own() -> Workload:
    """Three equal tenants at a gateway each, one of them with twice as many requests and shorter answers."""
    requests = in_order(
        at([0], steady("A", 4000, 64, 32)), at([1], steady("B", 1200, 256, 256)), at([2], steady("C", 1200, 256, 256))
    )
    return Workload("each tenant at its own gateway", requests, ("A", "B", "C"))


def two_beside_one() -> Workload:
    """Two tenants share a gateway, a third has one to itself, and nobody comes to the last."""
    requests = in_order(
        at([0], steady("A", 1200, 256, 256)), at([0], steady("B", 1200, 256, 256)), at([1], steady("C", 1200, 256, 256))
    )
    return Workload("A and B at one gateway, C at another, the third idle", requests, ("A", "B", "C"))


def one_spread() -> Workload:
    """One tenant sends to all gateways, the others to one each."""
    requests = in_order(
        at([0, 1, 2], steady("S", 2400, 256, 256)),
        *(at([number], steady(tenant, 1200, 256, 256)) for number, tenant in enumerate("ABC")),
    )
    return Workload("S over all gateways, A, B and C at one each", requests, ("S", "A", "B", "C"))


def weighted_unevenly() -> Workload:
    """Weights of 1 to 4, and tenants that send to one, two or all gateways, some more to one than to another."""
    weights = {"A": 1, "B": 2, "C": 3, "D": 4}
    places = {"A": [0, 1, 2], "B": [0], "C": [0, 0, 0, 1], "D": [2, 2, 1]}
    requests = in_order(*(at(places[tenant], steady(tenant, 1000, 256, 256)) for tenant in weights))
    return Workload("weights 1:2:3:4, unevenly spread", requests, tuple(weights), weights)


def chat_apart() -> Workload:
    """A tenant asks something short every two seconds at a gateway, and its neighbour floods from all."""
    chat = [Request(20 + 2.0 * number, "chat", 64, 32) for number in range(280)]
    flood = at([0, 1, 2], steady("flood", 3000, 256, 256))
    return Workload("interactive at one gateway, a flood at all", in_order(flood, at([2], chat)))


GATEWAY_WORKLOADS: tuple[Callable[[], Workload], ...] = (
    each_at_its_own,
    two_beside_one,
    one_spread,
    weighted_unevenly,
    chat_apart,
)
