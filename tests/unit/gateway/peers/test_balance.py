"""Gateways that tell each other: no slot twice, no service lost or counted twice, and weights and lifts that hold."""

from collections import Counter

from exchanging_gateways import SLOTS, A, B, C, Gateway, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.standing import Standing

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


def test_slots_that_another_run_still_fills_are_not_taken():
    gateway = Gateway("one")
    for _ in range(50):
        gateway.ask(A)
    told = gateway.exchange.meet({"two": GatewayStanding(1, {B: Standing(in_flight=6)})})
    assert told.slots == SLOTS - 6


def test_what_others_had_served_before_a_gateway_came_is_past_and_what_new_ones_serve_is_not():
    gateway = Gateway("one")
    gateway.exchange.meet({"old": GatewayStanding(1, {A: Standing(1_000)})})
    assert gateway.shares.counter(A) == 0
    gateway.exchange.meet(
        {"old": GatewayStanding(1, {A: Standing(1_005)}), "new": GatewayStanding(1, {A: Standing(20)})}
    )
    assert gateway.shares.counter(A) == 25


def test_a_charge_that_goes_back_entirely_is_told():
    one, two = Gateway("one"), Gateway("two")
    table = Table(one, two)
    table.all_exchange()
    one.ask(A)
    table.all_exchange()
    charged = two.shares.counter(A)
    one.leave()
    table.all_exchange()
    assert (charged > 0, two.shares.counter(A)) == (True, 0)


def test_who_comes_back_as_a_new_run_does_not_bring_what_was_counted_already():
    one, two = Gateway("one"), Gateway("two")
    table = Table(one, two)
    table.all_exchange()
    one.ask(A)
    table.all_exchange()
    counted = two.shares.counter(A)
    one.exchange.part()
    del table.told["one"]
    one.run = "one again"
    table.all_exchange()
    assert two.shares.counter(A) == counted
    one.leave()
    table.all_exchange()
    # What the old run had expected and the new one gave back was counted, and is taken back.
    assert two.shares.counter(A) == 0
