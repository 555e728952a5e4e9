"""The entitled share of a tenant at a busy engine, computed from all tenants' weights and guarantees."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from finpool.catalogue.price.schemas import BASIS_POINTS

WEIGHT_PARTS = 1000

Claimant = TypeVar("Claimant", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A tenant's claim: its weight among waiting tenants, and its guaranteed share beside any weights."""

    weight: int = 1
    share_min_basis_points: int = 0


EQUAL = Entitlement()
"""The claim of a tenant without a contract."""


def weight_parts(entitled: Mapping[Claimant, Entitlement]) -> dict[Claimant, int]:
    """Return the competitors' weights in thousandths, raised to meet guaranteed shares.

    A tenant whose weight yields less than its guarantee gets the guarantee; the others divide the rest by weight. A
    raised tenant leaves less to the others, so the loop repeats until no guarantee is short.
    """
    weights = {each: entitlement.weight * WEIGHT_PARTS for each, entitlement in entitled.items()}
    guaranteed = {
        each: entitlement.share_min_basis_points
        for each, entitlement in entitled.items()
        if entitlement.share_min_basis_points
    }
    raised: dict[Claimant, int] = {}
    while guaranteed.keys() - raised.keys():
        rest = max(1, BASIS_POINTS - sum(raised.values()))
        free = sum(weight for each, weight in weights.items() if each not in raised)
        short = {
            each: points
            for each, points in guaranteed.items()
            if each not in raised and weights[each] * rest < points * free
        }
        if not short or len(raised) + len(short) == len(weights):
            break
        raised.update(short)
    if raised:
        rest = max(1, BASIS_POINTS - sum(raised.values()))
        free = sum(weight for each, weight in weights.items() if each not in raised)
        weights |= {each: max(1, points * free // rest) for each, points in raised.items()}
    return weights
