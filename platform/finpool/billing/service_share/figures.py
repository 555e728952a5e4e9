"""The figures of service shares: a tenant's share of a window, its entitled share, and the part that others took."""

from collections.abc import Sequence

from sqlalchemy import RowMapping

from finpool.billing.service_share.entitlement import EQUAL, Entitlement, weight_parts
from finpool.billing.service_share.schemas import ShareFigures

_EPSILON = 1e-9


def claim(weight: int | None, share_min_basis_points: int | None) -> Entitlement:
    """Return the claim of the contract in force at a window's start; None values mean no contract."""
    if weight is None or share_min_basis_points is None:
        return EQUAL
    return Entitlement(weight, share_min_basis_points)


def entitled_shares(claims: Sequence[Entitlement]) -> list[float]:
    """Return the entitled share of each tenant that was served in a window; the shares sum to 1."""
    weights = weight_parts(dict(enumerate(claims)))
    whole = sum(weights.values())
    return [weights[place] / whole for place in range(len(claims))]


def share_figures(row: RowMapping, service_of_all: int, entitled: float) -> ShareFigures:
    """Return the figures of a row's tenant from its requests, service and waits.

    All shares sum to one, and so do all entitled shares. So one tenant's missing service went to tenants above their
    entitled shares. The index of a tenant that waited is its missing share; without service in a window it is 0.
    """
    share = row["service"] / max(1, service_of_all)
    short = entitled - share if service_of_all else 0.0
    index = short if row["queue_ms_max"] and short > _EPSILON else 0.0
    return ShareFigures(
        requests=row["requests"],
        service=row["service"],
        share=round(share, 6),
        entitled_share=round(entitled, 6),
        noisy_neighbour_index=round(index, 6),
        queue_ms_median=row["queue_ms_median"],
        queue_ms_p95=row["queue_ms_p95"],
        queue_ms_max=row["queue_ms_max"],
    )
