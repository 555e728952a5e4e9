"""What a gateway's order makes of tenants that wait, or are served, at other gateways."""

from exchanging_gateways import SLOTS, A, B, C, Gateway

from finpool.billing.service_share.entitlement import Entitlement
from finpool.gateway.queue.standing import Standing


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
