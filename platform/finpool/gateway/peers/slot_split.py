"""How an engine's slots are divided between the gateways that send to it: by what each tenant is due, and waits where.

The order within a gateway cannot do it alone: where only one bank waits, it gets every slot that its gateway has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SLOT_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """A tenant's claim to slots: in proportion to `weight`, as far as it has requests; `wanted` is these by gateway."""

    weight: int
    wanted: Mapping[str, int]

    @property
    def wanted_parts(self) -> int:
        """Slots that all its requests would take, in thousandths."""
        return SLOT_PARTS * sum(self.wanted.values())


def split_slots(
    slots: int, gateways: Sequence[str], claims: Sequence[Claim], batch_wanted: Mapping[str, int]
) -> dict[str, int]:
    """Return how many slots each gateway is due; they are `slots` together, and each gateway gets at least one.

    First every tenant is given what it wants, or its part by weight; what is left goes to who has batch requests
    waiting, and what is left then to all alike. With more gateways than slots each still gets one.
    """
    if slots <= len(gateways):
        return dict.fromkeys(gateways, 1)
    parts = dict.fromkeys(gateways, 0)
    left = SLOT_PARTS * slots
    for claim, due in zip(claims, _by_weight(left, claims), strict=True):
        for gateway, wanted in claim.wanted.items():
            parts[gateway] += due * wanted * SLOT_PARTS // max(1, claim.wanted_parts)
    left -= sum(parts.values())
    batch_parts = SLOT_PARTS * sum(batch_wanted.values())
    for gateway, wanted in batch_wanted.items():
        parts[gateway] += min(left, batch_parts) * wanted * SLOT_PARTS // max(1, batch_parts)
    left = SLOT_PARTS * slots - sum(parts.values())
    for gateway in gateways:
        parts[gateway] += left // len(gateways)
    return _whole(slots, parts)


def _by_weight(parts: int, claims: Sequence[Claim]) -> list[int]:
    """Return what each claim gets of so many parts: never more than it wants, and else in proportion to its weight."""
    due: dict[int, int] = {}
    open_claims = {number: claim for number, claim in enumerate(claims) if claim.wanted_parts}
    while open_claims:
        rest, weights = parts - sum(due.values()), sum(claim.weight for claim in open_claims.values())
        filled = [
            number for number, claim in open_claims.items() if claim.wanted_parts * weights <= rest * claim.weight
        ]
        if not filled:
            due |= {number: rest * claim.weight // weights for number, claim in open_claims.items()}
            break
        due |= {number: open_claims.pop(number).wanted_parts for number in filled}
    return [due.get(number, 0) for number in range(len(claims))]


def _whole(slots: int, parts: Mapping[str, int]) -> dict[str, int]:
    """Return whole slots, one at least for each: what is above one is scaled down, and the largest rests round up."""
    above = {gateway: max(0, each - SLOT_PARTS) for gateway, each in parts.items()}
    spare, total = slots - len(parts), sum(above.values())
    if not total:
        above, total = dict.fromkeys(parts, 1), len(parts)
    due = {gateway: 1 + spare * each // total for gateway, each in above.items()}
    by_rest = sorted(parts, key=lambda gateway: (-(spare * above[gateway] % total), gateway))
    for gateway in by_rest[: slots - sum(due.values())]:
        due[gateway] += 1
    return due
