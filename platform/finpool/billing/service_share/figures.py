"""The arithmetic of fair shares: what a tenant of a window got, what was due to it, and what went to others instead."""

from collections.abc import Sequence

from sqlalchemy import RowMapping

from finpool.billing.service_share.entitlement import EQUAL, Entitlement, weight_parts
from finpool.billing.service_share.schemas import ShareFigures

_EPSILON = 1e-9


def claim(weight: int | None, share_min_basis_points: int | None) -> Entitlement:
    """Return the claims of the contract that held as a window began; None: there was none."""
    if weight is None or share_min_basis_points is None:
        return EQUAL
    return Entitlement(weight, share_min_basis_points)


def entitled_shares(claims: Sequence[Entitlement]) -> list[float]:
    """Return what part of the whole is due to each of those who were served in a window."""
    weights = weight_parts(dict(enumerate(claims)))
    whole = sum(weights.values())
    return [weights[place] / whole for place in range(len(claims))]


def share_figures(row: RowMapping, service_of_all: int, entitled: float) -> ShareFigures:
    """Return the figures of the tenant whose requests, service and waits are in a row.

    All shares sum to one, and so does all that is due: what one tenant lacks has gone to others beyond what was due to
    them, so the index of a tenant that waited is what it lacks. Where nothing was served, nobody took anything.
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
