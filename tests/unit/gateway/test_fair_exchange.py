"""Gateways that tell each other: no slot twice, no service lost or counted twice, and weights and lifts that hold."""

from collections import Counter, deque
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from finpool.billing.entitlement_schemas import Entitlement
from finpool.gateway.fair_exchange import FairExchange
from finpool.gateway.fair_shares import FairShares, Waiting
from finpool.gateway.length_prediction import Ask
from finpool.gateway.share_schemas import GatewayShare, Standing
from finpool.kernel.ids import TenantId

A, B, C = TenantId("a"), TenantId("b"), TenantId("c")
ASK = Ask(input_tokens_bound=16, output_tokens_bound=64)
SLOTS = 8


class Shares(FairShares):
    """Remembers what other gateways' service was counted here."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.counted = Counter()

    def meet(self, growth, elsewhere):
        self.counted.update(growth)
        super().meet(growth, elsewhere)


class Gateway:
    """A queue, its part in the exchange, and the turns that are under way."""

    def __init__(self, run, entitled=None, express_max=1, slots=SLOTS):
        options = {} if entitled is None else {"entitled": lambda tenant: entitled.get(tenant, Entitlement())}
        self.run = run
        self.shares = Shares(slots - express_max, express_max=express_max, **options)
        self.exchange = FairExchange(self.shares)
        self.turns = deque()
        self.order = []

    def ask(self, tenant, batch=False):
        waiting = Waiting(ASK, partial(self._begin, tenant), batch=batch)
        self.shares.arrive(tenant, waiting)
        self.shares.dispatch()

    def end(self, output_tokens=1):
        if self.turns:
            self.shares.end(self.turns.popleft(), input_tokens=16, output_tokens=output_tokens)
            self.shares.dispatch()

    def leave(self):
        """End a turn of which the engine did nothing."""
        if self.turns:
            self.shares.end(self.turns.popleft(), input_tokens=0, output_tokens=0)
            self.shares.dispatch()

    def _begin(self, tenant, turn):
        self.turns.append(turn)
        self.order.append(tenant)


class Table:
    """What the gateways told."""

    def __init__(self, *gateways):
        self.gateways = list(gateways)
        self.told = {}

    def exchange(self, gateway):
        told = gateway.exchange.meet({run: each for run, each in self.told.items() if run != gateway.run})
        self.told[gateway.run] = told
        gateway.exchange.hold(told.slots)

    def all_exchange(self, times=1):
        for _ in range(times):
            for gateway in self.gateways:
                self.exchange(gateway)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "batch", "end", "leave", "exchange", "exchange", "restart"]),
        st.integers(0, 2),
        st.sampled_from([A, B, C]),
        st.integers(0, 64),
    ),
    max_size=120,
)


def play(table, steps):
    """Do what a history says; yields the gateways after each step."""
    for number, (what, place, tenant, tokens) in enumerate(steps):
        gateway = table.gateways[place]
        if what in ("ask", "batch"):
            gateway.ask(tenant, batch=what == "batch")
        elif what == "end":
            gateway.end(tokens)
        elif what == "leave":
            gateway.leave()
        elif what == "exchange":
            table.exchange(gateway)
        else:
            del table.told[gateway.run]
            table.gateways[place] = Gateway(f"{gateway.run}.{number}")
            table.exchange(table.gateways[place])
        yield table.gateways


@given(STEPS)
@settings(deadline=None)
def test_gateways_never_hold_more_slots_than_there_are_whatever_happens(steps):
    table = Table(*(Gateway(run) for run in ("one", "two", "three")))
    table.all_exchange(2)
    for gateways in play(table, steps):
        held = [gateway.exchange.slots for gateway in gateways]
        assert min(held) >= 1
        # One that has just come has its one slot at once, and the others give it up at their next exchange.
        assert sum(each for each in held if each > 1) <= SLOTS
        for gateway in gateways:
            shares = gateway.shares
            assert shares.in_flight_max + shares.express_max == gateway.exchange.slots
    for gateway in table.gateways:
        while gateway.turns:
            gateway.end()
    table.all_exchange(2)
    assert sum(gateway.exchange.slots for gateway in table.gateways) <= SLOTS


@given(STEPS)
@settings(deadline=None)
def test_what_is_charged_at_one_gateway_is_counted_once_at_every_other(steps):
    table = Table(*(Gateway(run) for run in ("one", "two", "three")))
    table.all_exchange()
    for _ in play(table, [step for step in steps if step[0] != "restart"]):
        pass
    while any(gateway.turns for gateway in table.gateways):
        for gateway in table.gateways:
            gateway.end()
        table.all_exchange()
    table.all_exchange(2)
    for gateway in table.gateways:
        others = Counter()
        for other in table.gateways:
            if other is not gateway:
                others.update({tenant: each.charged for tenant, each in other.shares.standings().items()})
        assert {tenant: n for tenant, n in gateway.shares.counted.items() if n} == {
            tenant: n for tenant, n in others.items() if n
        }


def test_a_gateway_that_is_alone_keeps_everything_as_it_is():
    gateway = Gateway("one")
    for _ in range(3):
        gateway.exchange.hold(gateway.exchange.meet({}).slots)
        gateway.ask(A)
    assert (gateway.shares.in_flight_max, gateway.shares.express_max) == (SLOTS - 1, 1)


def test_a_run_that_is_gone_counts_no_more_and_its_slots_are_the_others():
    one, two = Gateway("one"), Gateway("two")
    table = Table(one, two)
    table.all_exchange(3)
    for _ in range(20):
        one.ask(A)
    two.ask(B)
    table.all_exchange(2)
    assert one.exchange.slots + two.exchange.slots == SLOTS
    del table.told["two"]
    table.exchange(one)
    assert (one.exchange.slots, one.shares.in_flight) == (SLOTS, SLOTS - 1)


def test_a_gateway_that_hears_nothing_keeps_no_more_than_an_even_part_and_comes_back_without_its_past():
    one, two = Gateway("one"), Gateway("two")
    table = Table(one, two)
    table.all_exchange(2)
    for _ in range(20):
        one.ask(A)
    two.ask(B)
    table.all_exchange(3)
    before = one.exchange.slots
    assert before > SLOTS // 2
    one.exchange.part()
    two.exchange.part()
    assert [one.exchange.slots, two.exchange.slots] == [SLOTS // 2, SLOTS - before]
    one.run, table.told = "one again", {}
    counted, charged = two.shares.counted[A], one.shares.standings()[A].charged
    table.exchange(one)
    # The other is still there, only nobody has heard of it yet.
    assert one.exchange.slots == SLOTS // 2
    table.all_exchange(2)
    assert one.exchange.slots + two.exchange.slots == SLOTS
    assert two.shares.counted[A] - counted == one.shares.standings()[A].charged - charged


def test_a_raised_bound_begins_turns_at_once_and_a_lowered_one_ends_none():
    gateway = Gateway("one")
    for _ in range(20):
        gateway.ask(A)
    gateway.shares.limit(2, 0)
    assert len(gateway.turns) == SLOTS - 1
    gateway.end()
    assert len(gateway.turns) == SLOTS - 2
    gateway.shares.limit(10, 0)
    assert len(gateway.turns) == 10


def test_a_tenant_that_is_served_elsewhere_is_no_newcomer_here():
    gateway = Gateway("one")
    gateway.shares.meet({}, {B: Standing(in_flight=1)})
    for tenant in (*[A] * SLOTS, B, C):
        gateway.ask(tenant)
    assert gateway.order == [*[A] * (SLOTS - 1), C]


def test_a_tenant_that_waits_elsewhere_has_its_part_in_weights_and_guarantees():
    gateway = Gateway("one", {A: Entitlement(1), B: Entitlement(1, share_min_basis_points=7500)})
    charged = []
    for elsewhere in ({}, {A: Standing(waiting=5)}):
        gateway.shares.meet({}, elsewhere)
        before = gateway.shares.standings().get(B, Standing()).charged
        gateway.ask(B)
        charged.append(gateway.shares.standings()[B].charged - before)
        gateway.leave()
    # Beside A it takes the triple weight to three quarters of the service.
    assert charged[0] // 3 == charged[1] > 0


def test_who_begins_to_wait_elsewhere_is_lifted_to_the_others_after_its_service_was_counted():
    gateway = Gateway("one", slots=2)
    gateway.shares.meet({A: 1_000, B: 10}, {A: Standing(waiting=1)})
    gateway.shares.meet({A: 500, B: 10}, {A: Standing(waiting=1), B: Standing(waiting=1)})
    assert (gateway.shares.counter(A), gateway.shares.counter(B)) == (1_500, 1_500)


def test_who_waits_elsewhere_already_is_not_lifted_when_it_comes_here_too():
    gateway = Gateway("one", slots=2)
    gateway.shares.meet({A: 1_000}, {A: Standing(waiting=1), B: Standing(waiting=1)})
    behind = gateway.shares.counter(B)
    gateway.shares.meet({A: 5_000}, {A: Standing(waiting=1), B: Standing(waiting=1)})
    gateway.shares.limit(0, 0)
    gateway.ask(B)
    assert gateway.shares.counter(B) == behind < gateway.shares.counter(A)


def test_who_comes_when_all_others_are_served_elsewhere_is_lifted_to_them():
    gateway = Gateway("one", slots=2)
    gateway.shares.meet({A: 7_000}, {A: Standing(in_flight=3)})
    gateway.shares.limit(0, 0)
    gateway.ask(B)
    assert gateway.shares.counter(B) == 7_000


def test_slots_that_another_run_still_fills_are_not_taken():
    gateway = Gateway("one")
    gateway.ask(A)
    told = gateway.exchange.meet({"two": GatewayShare(1, {B: Standing(in_flight=6)})})
    assert told.slots == SLOTS - 6
