"""The index of a tenant, by its definition: the service that was due to it and went to others beyond their due."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.service_share.entitlement import EQUAL, Entitlement
from finpool.billing.service_share.figures import claim, entitled_shares, share_figures
from finpool.billing.service_share.schemas import ShareFigures

CLAIMS = st.builds(Entitlement, st.integers(1, 1000), st.integers(0, 2000))
SERVED = st.lists(st.tuples(st.integers(0, 10**12), CLAIMS, st.sampled_from([None, 0, 5])), min_size=1, max_size=5)

Served = tuple[int, Entitlement, int | None]
"""The service of a tenant, its entitlement, and how long it waited at the most, in milliseconds."""


def figures(served: list[Served]) -> list[ShareFigures]:
    whole = sum(service for service, _, _ in served)
    due = entitled_shares([claims for _, claims, _ in served])
    rows: list[Any] = [
        {"requests": 1, "service": service, "queue_ms_median": ms, "queue_ms_p95": ms, "queue_ms_max": ms}
        for service, _, ms in served
    ]
    return [share_figures(row, whole, entitled) for row, entitled in zip(rows, due, strict=True)]


@given(SERVED)
def test_what_a_tenant_that_waited_lacks_is_what_others_got_beyond_their_due(served: list[Served]) -> None:
    all_figures = figures(served)
    for place, own in enumerate(all_figures):
        others = [each for other, each in enumerate(all_figures) if other != place]
        beyond = sum(max(0.0, each.share - each.entitled_share) for each in others)
        taken = min(max(0.0, own.entitled_share - own.share), beyond) if own.queue_ms_max else 0.0
        assert own.noisy_neighbour_index == pytest.approx(taken, abs=1e-5)


@given(SERVED)
def test_what_is_due_does_not_depend_on_the_order_in_which_the_others_are_told(served: list[Served]) -> None:
    own, *others = [claims for _, claims, _ in served]
    alike = sorted(others, key=lambda each: (each.weight, each.share_min_basis_points))
    assert entitled_shares([own, *others])[0] == entitled_shares([own, *alike])[0]


def test_where_nothing_was_served_nobody_took_anything() -> None:
    own, _ = figures([(0, EQUAL, 9), (0, EQUAL, 9)])
    assert (own.share, own.entitled_share, own.noisy_neighbour_index) == (0.0, 0.5, 0.0)


def test_a_tenant_without_a_contract_has_an_equal_claim() -> None:
    assert claim(None, None) == EQUAL
    assert claim(3, 2500) == Entitlement(3, 2500)
