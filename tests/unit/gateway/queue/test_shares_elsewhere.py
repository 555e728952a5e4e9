"""How a gateway orders banks that also wait, or are served, at other gateways. Each story is told at one gateway."""

from peer_gateways import HARBOUR, LOTUS, PINE, SLOTS, Gateway

from finpool.billing.service_share.entitlement import Entitlement
from finpool.gateway.queue.standing import Standing


def test_a_raised_bound_begins_turns_at_once_and_a_lowered_one_ends_none() -> None:
    gateway = Gateway("north")
    gateway.send(HARBOUR, 20)

    gateway.scheduler.limit(2, 0)
    assert len(gateway.turns) == SLOTS - 1, "the turns under way go on"
    gateway.finish_oldest()
    assert len(gateway.turns) == SLOTS - 2, "no turn begins while more than two are under way"

    gateway.scheduler.limit(10, 0)
    assert len(gateway.turns) == 10


def test_a_tenant_that_is_served_elsewhere_is_no_newcomer_here() -> None:
    """One slot is kept for a bank with nothing under way. Lotus is served elsewhere, so the slot is Pine's."""
    gateway = Gateway("north", express_slots=1)
    gateway.hear(lotus=Standing(in_flight=1))

    gateway.send(HARBOUR, SLOTS)
    gateway.send(LOTUS)
    gateway.send(PINE)

    assert gateway.served == [*[HARBOUR] * (SLOTS - 1), PINE]


def test_a_tenant_that_waits_elsewhere_has_its_part_in_weights_and_guarantees() -> None:
    """Lotus has a guarantee of three quarters. Alone it needs no weight; beside Harbour its weight is the triple."""
    guaranteed = {HARBOUR: Entitlement(1), LOTUS: Entitlement(1, share_min_basis_points=7500)}
    gateway = Gateway("north", entitlements=guaranteed)

    def charge_for_one_request() -> int:
        before = gateway.charged(LOTUS)
        gateway.send(LOTUS)
        charge = gateway.charged(LOTUS) - before
        gateway.give_up_oldest()
        return charge

    gateway.hear()
    alone = charge_for_one_request()
    gateway.hear(harbour=Standing(waiting=5))
    beside_harbour = charge_for_one_request()

    assert beside_harbour == alone // 3 > 0


def test_who_begins_to_wait_elsewhere_is_lifted_to_the_others_after_its_service_was_counted() -> None:
    """Lotus comes back after a pause with a small counter. It cannot save up a claim, so it is lifted to Harbour."""
    gateway = Gateway("north", slots=2)
    gateway.hear(grown={HARBOUR: 1_000, LOTUS: 10}, harbour=Standing(waiting=1))

    gateway.hear(grown={HARBOUR: 500, LOTUS: 10}, harbour=Standing(waiting=1), lotus=Standing(waiting=1))

    assert (gateway.counter(HARBOUR), gateway.counter(LOTUS)) == (1_500, 1_500)


def test_who_waits_elsewhere_already_is_not_lifted_when_it_comes_here_too() -> None:
    """Lotus has waited all the time while Harbour was served, so it keeps its claim when it comes here as well."""
    gateway = Gateway("north", slots=2)
    gateway.hear(grown={HARBOUR: 1_000}, harbour=Standing(waiting=1), lotus=Standing(waiting=1))
    behind = gateway.counter(LOTUS)
    gateway.hear(grown={HARBOUR: 5_000}, harbour=Standing(waiting=1), lotus=Standing(waiting=1))

    gateway.scheduler.limit(0, 0)
    gateway.send(LOTUS)

    assert gateway.counter(LOTUS) == behind < gateway.counter(HARBOUR)


def test_who_comes_when_all_others_are_served_elsewhere_is_lifted_to_them() -> None:
    """Nobody waits, but Harbour was just served at another gateway. Lotus comes with an empty counter."""
    gateway = Gateway("north", slots=2)
    gateway.hear(grown={HARBOUR: 7_000}, harbour=Standing(in_flight=3))

    gateway.scheduler.limit(0, 0)
    gateway.send(LOTUS)

    assert gateway.counter(LOTUS) == 7_000
