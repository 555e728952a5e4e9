"""Gateways that tell each other: no slot twice, no service lost or counted twice, and weights and lifts that hold."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from peer_gateways import BANKS, HARBOUR, LOTUS, SLOTS, Gateway, Table

from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.standing import Standing
from finpool.kernel.ids import TenantId


@dataclass(frozen=True)
class Event:
    """One step of a history: its kind, its gateway, its bank and its output tokens."""

    what: str
    place: int
    bank: TenantId
    output_tokens: int


EVENTS = st.builds(
    Event,
    what=st.sampled_from(["send", "send", "send batch", "finish", "give up", "sync", "sync", "restart"]),
    place=st.integers(0, 2),
    bank=st.sampled_from(BANKS),
    output_tokens=st.integers(0, 64),
)
HISTORIES = st.lists(EVENTS, max_size=120)


def three_gateways() -> Table:
    return Table(Gateway("north"), Gateway("south"), Gateway("east"))


def play(table: Table, history: list[Event]) -> Iterator[list[Gateway]]:
    """Do what a history says; yields the gateways after each event."""
    for number, event in enumerate(history):
        gateway = table.gateways[event.place]
        if event.what == "send":
            gateway.send(event.bank)
        elif event.what == "send batch":
            gateway.send(event.bank, batch=True)
        elif event.what == "finish":
            gateway.finish_oldest(event.output_tokens)
        elif event.what == "give up":
            gateway.give_up_oldest()
        elif event.what == "sync":
            table.sync(gateway)
        else:
            table.lose(gateway)
            table.gateways[event.place] = Gateway(f"{gateway.run}.{number}")
            table.sync(table.gateways[event.place])
        yield table.gateways


def finish_everything(table: Table) -> None:
    """Finish every turn, also those that begin meanwhile; the gateways sync as they go."""
    while any(gateway.turns for gateway in table.gateways):
        for gateway in table.gateways:
            gateway.finish_oldest()
        table.all_sync()
    table.all_sync(2)


def nonzero(charges: Counter[TenantId]) -> dict[TenantId, int]:
    return {bank: charge for bank, charge in charges.items() if charge}


@given(HISTORIES)
@settings(deadline=None)
def test_gateways_never_hold_more_slots_than_there_are_whatever_happens(history: list[Event]) -> None:
    table = three_gateways()
    table.all_sync(2)

    for gateways in play(table, history):
        held = [gateway.slots for gateway in gateways]
        assert min(held) >= 1
        # One that has just come has its one slot at once, and the others give it up at their next sync.
        assert sum(each for each in held if each > 1) <= SLOTS
        for gateway in gateways:
            assert gateway.scheduler.in_flight_max + gateway.scheduler.express_max == gateway.slots

    for gateway in table.gateways:
        while gateway.turns:
            gateway.finish_oldest()
    table.all_sync(2)
    assert sum(gateway.slots for gateway in table.gateways) <= SLOTS


@given(HISTORIES)
@settings(deadline=None)
def test_what_is_charged_at_one_gateway_is_counted_once_at_every_other(history: list[Event]) -> None:
    table = three_gateways()
    table.all_sync()

    for _ in play(table, [event for event in history if event.what != "restart"]):
        pass
    finish_everything(table)

    for gateway in table.gateways:
        others = [other for other in table.gateways if other is not gateway]
        charged = Counter({bank: sum(other.charged(bank) for other in others) for bank in BANKS})
        assert nonzero(gateway.scheduler.counted) == nonzero(charged)


def test_a_gateway_that_is_alone_keeps_everything_as_it_is() -> None:
    north = Gateway("north")
    for _ in range(3):
        north.balance.hold(north.balance.meet({}).slots)
        north.send(HARBOUR)
    assert (north.scheduler.in_flight_max, north.scheduler.express_max) == (SLOTS - 1, 1)


def test_a_run_that_is_gone_counts_no_more_and_its_slots_are_the_others() -> None:
    """North and South share the engine. South dies, and North fills every slot but the one for newcomers."""
    north, south = Gateway("north"), Gateway("south")
    table = Table(north, south)
    table.all_sync(3)
    north.send(HARBOUR, 20)
    south.send(LOTUS)
    table.all_sync(2)
    assert north.slots + south.slots == SLOTS

    table.lose(south)
    table.sync(north)

    assert (north.slots, north.scheduler.in_flight) == (SLOTS, SLOTS - 1)


def test_a_gateway_that_hears_nothing_keeps_no_more_than_an_even_part_and_comes_back_without_its_past() -> None:
    north, south = Gateway("north"), Gateway("south")
    table = Table(north, south)
    table.all_sync(2)
    north.send(HARBOUR, 20)
    south.send(LOTUS)
    table.all_sync(3)
    norths_slots = north.slots
    assert norths_slots > SLOTS // 2, "North has most of the requests"

    # The database is away for too long: North falls back to half, and South takes nothing.
    north.balance.separate()
    south.balance.separate()
    assert (north.slots, south.slots) == (SLOTS // 2, SLOTS - norths_slots)

    # It is back. North comes first, as a new run: South is still there, only nobody has heard of it yet.
    north.run, table.told = "north again", {}
    counted_at_south, charged_at_north = south.scheduler.counted[HARBOUR], north.charged(HARBOUR)
    table.sync(north)
    assert north.slots == SLOTS // 2

    # Once both were heard they fill the engine, and South counts only what North served since.
    table.all_sync(2)
    assert north.slots + south.slots == SLOTS
    assert south.scheduler.counted[HARBOUR] - counted_at_south == north.charged(HARBOUR) - charged_at_north


def test_slots_that_another_run_still_fills_are_not_taken() -> None:
    """South may fill one slot, and still has six requests of Lotus under way from before."""
    north = Gateway("north")
    north.send(HARBOUR, 50)

    told = north.balance.meet({"south": GatewayStanding(1, {LOTUS: Standing(in_flight=6)})})

    assert told.slots == SLOTS - 6


def test_what_others_had_served_before_a_gateway_came_is_past_and_what_new_ones_serve_is_not() -> None:
    north = Gateway("north")
    north.balance.meet({"old": GatewayStanding(1, {HARBOUR: Standing(charged=1_000)})})
    assert north.counter(HARBOUR) == 0

    old = GatewayStanding(1, {HARBOUR: Standing(charged=1_005)})
    new = GatewayStanding(1, {HARBOUR: Standing(charged=20)})
    north.balance.meet({"old": old, "new": new})

    assert north.counter(HARBOUR) == 5 + 20


def test_a_charge_that_goes_back_entirely_is_told() -> None:
    """North charges Harbour for a request that then gives up. South has counted it, and takes it back."""
    north, south = Gateway("north"), Gateway("south")
    table = Table(north, south)
    table.all_sync()
    north.send(HARBOUR)
    table.all_sync()
    assert south.counter(HARBOUR) > 0

    north.give_up_oldest()
    table.all_sync()

    assert south.counter(HARBOUR) == 0


def test_who_comes_back_as_a_new_run_does_not_bring_what_was_counted_already() -> None:
    north, south = Gateway("north"), Gateway("south")
    table = Table(north, south)
    table.all_sync()
    north.send(HARBOUR)
    table.all_sync()
    counted = south.counter(HARBOUR)

    # North is cut off and comes back as a new run while Harbour's request is still under way.
    north.balance.separate()
    table.lose(north)
    north.run = "north again"
    table.all_sync()
    assert south.counter(HARBOUR) == counted

    # The old run had charged the request and the new one gives the charge back, so South takes it back.
    north.give_up_oldest()
    table.all_sync()
    assert south.counter(HARBOUR) == 0
