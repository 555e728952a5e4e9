"""The order of requests: shares by weight, guarantees, prediction and refund, for any history."""

import random
from collections import Counter, deque
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.service_share.entitlement import Entitlement
from finpool.catalogue.model.schemas import service_of
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.kernel.ids import TenantId

BOUND = 64
ASK = LengthBound(input_tokens_bound=16, output_tokens_bound=BOUND)


class Engine:
    """Works on the turns that begin, round by round, one token each."""

    def __init__(self, scheduler: FairScheduler) -> None:
        self.scheduler = scheduler
        self.running: deque[tuple[Turn, str, int, int]] = deque()
        self.served: Counter[str] = Counter()

    def ask(self, tenant: str, output_tokens: int, batch: bool = False) -> Waiting:
        waiting = Waiting(ASK, lambda turn: self.running.append((turn, tenant, output_tokens, 0)), batch=batch)
        self.scheduler.arrive(TenantId(tenant), waiting)
        self.scheduler.dispatch()
        return waiting

    def round(self) -> None:
        for _ in range(len(self.running)):
            turn, tenant, wanted, made = self.running.popleft()
            self.served[tenant] += service_of(16 if made == 0 else 0, 1)
            made += 1
            if made < wanted:
                self.scheduler.use(turn, input_tokens=16, output_tokens=made)
                self.running.append((turn, tenant, wanted, made))
            else:
                self.scheduler.end(turn, input_tokens=16, output_tokens=made)
                self.scheduler.dispatch()


def backlogged(
    lengths: Mapping[str, tuple[int, int]],
    entitled: Mapping[str, Entitlement],
    rounds: int = 4000,
    in_flight_max: int = 4,
) -> Counter[str]:
    """Serve tenants that always have something waiting; returns what each was served."""
    scheduler = FairScheduler(in_flight_max, entitled=lambda tenant: entitled.get(tenant, Entitlement()))
    engine, numbers = Engine(scheduler), random.Random(1)
    for _ in range(rounds):
        for tenant, (low, high) in lengths.items():
            while scheduler.waiting(TenantId(tenant)) < 2 * in_flight_max:
                engine.ask(tenant, numbers.randint(low, high))
        engine.round()
    return engine.served


@given(
    lengths=st.dictionaries(
        st.sampled_from("abcde"), st.tuples(st.integers(1, 30), st.integers(30, BOUND)), min_size=2, max_size=5
    ),
    weights=st.lists(st.integers(1, 5), min_size=5, max_size=5),
    in_flight_max=st.integers(1, 6),
)
def test_backlogged_tenants_are_served_by_weight_whatever_their_answers_length(
    lengths: dict[str, tuple[int, int]], weights: list[int], in_flight_max: int
) -> None:
    entitled = {tenant: Entitlement(weight) for tenant, weight in zip("abcde", weights, strict=True)}
    served = backlogged(lengths, entitled, 400, in_flight_max)
    by_weight = [served[tenant] / entitled[tenant].weight for tenant in lengths]
    # VTC's bound: twice the most that can be charged before the order can react, here for every turn in flight.
    assert max(by_weight) - min(by_weight) <= 2 * (in_flight_max + 1) * service_of(16, BOUND)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (1, 2, 3, 4)])
def test_over_time_shares_are_within_three_percent_of_the_weights(weights: tuple[int, ...]) -> None:
    lengths = {tenant: (4 + 12 * number, 16 + 12 * number) for number, tenant in enumerate("abcd"[: len(weights)])}
    served = backlogged(lengths, {tenant: Entitlement(weight) for tenant, weight in zip("abcd", weights, strict=False)})
    part = sum(served.values()) / sum(weights)
    for tenant, weight in zip("abcd", weights, strict=False):
        assert served[tenant] == pytest.approx(weight * part, rel=0.03)


def test_a_guaranteed_share_holds_however_many_others_come_and_they_share_the_rest_by_weight() -> None:
    lengths = dict.fromkeys("abcdefghij", (10, 30))
    entitled = {"a": Entitlement(1, share_min_basis_points=4000), "b": Entitlement(3)}
    served = backlogged(lengths, entitled, 12_000)
    total = sum(served.values())
    assert served["a"] / total == pytest.approx(0.4, rel=0.03)
    assert served["b"] / served["c"] == pytest.approx(3, rel=0.05)


def test_a_guarantee_below_what_the_weight_gives_changes_nothing() -> None:
    served = backlogged({"a": (10, 30), "b": (10, 30)}, {"a": Entitlement(1, share_min_basis_points=4000)})
    assert served["a"] / served["b"] == pytest.approx(1, rel=0.03)


def test_guarantees_of_everybody_are_kept_beside_each_other() -> None:
    entitled = {"a": Entitlement(1, 7000), "b": Entitlement(1, 2000), "c": Entitlement(1, 1000)}
    served = backlogged(dict.fromkeys("abc", (10, 30)), entitled)
    total = sum(served.values())
    assert [round(served[tenant] / total, 1) for tenant in "abc"] == [0.7, 0.2, 0.1]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, BOUND), st.booleans(), st.integers(0, 3)), max_size=60)
)
def test_every_request_gets_its_turn_once_and_is_charged_what_it_cost(
    history: list[tuple[str, int, bool, int]],
) -> None:
    scheduler = FairScheduler(2, express_max=1)
    engine = Engine(scheduler)
    left: list[str] = []
    used: Counter[str] = Counter()
    for tenant, tokens, batch, rounds in history:
        waiting = engine.ask(tenant, tokens, batch)
        if rounds == 3 and scheduler.withdraw(TenantId(tenant), waiting):
            left.append(tenant)
        else:
            used[tenant] += service_of(16, tokens)
        for _ in range(rounds):
            engine.round()
    for _ in range(BOUND * (len(history) + 1)):
        engine.round()
    assert scheduler.in_flight == 0
    assert engine.served == used
    assert not any(scheduler.waiting(TenantId(tenant)) for tenant in "abc")


def test_what_was_expected_and_did_not_come_goes_back() -> None:
    scheduler = FairScheduler(1)
    engine = Engine(scheduler)
    # The first answers are long, so the next are expected to be; they turn out to be short.
    for _ in range(5):
        engine.ask("a", BOUND)
    for _ in range(5 * BOUND):
        engine.round()
    for _ in range(20):
        engine.ask("a", 1)
        engine.ask("b", 1)
    order = []
    while engine.running:
        order.append(engine.running[0][1])
        engine.round()
    assert abs(order.count("a") - order.count("b")) == 0
    assert abs(order[:20].count("a") - 10) <= 2
