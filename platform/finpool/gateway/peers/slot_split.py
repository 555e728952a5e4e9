"""The split of an engine's slots among its gateways, by each tenant's claim and the places of its requests.

The order within a gateway does not suffice: a bank that waits alone at one gateway would get all slots there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SLOT_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """A tenant's claim to slots in proportion to `weight`, up to its requests; `wanted` counts these by gateway."""

    weight: int
    wanted: Mapping[str, int]

    @property
    def wanted_parts(self) -> int:
        """The slots of all its requests, in thousandths."""
        return SLOT_PARTS * sum(self.wanted.values())


def split_slots(
    slots: int, gateways: Sequence[str], claims: Sequence[Claim], batch_wanted: Mapping[str, int]
) -> dict[str, int]:
    """Return the slots of each gateway: `slots` in total, and at least one each.

    First every tenant gets its wanted slots, or its part by weight. The rest goes to gateways with waiting batch
    requests, and the last rest equally to all. With more gateways than slots each still gets one.
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
    """Return each claim's part of `parts`: at most its wanted parts, otherwise in proportion to its weight."""
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
    """Return whole slots, at least one each: the parts above one are scaled, and the largest remainders round up."""
    above = {gateway: max(0, each - SLOT_PARTS) for gateway, each in parts.items()}
    spare, total = slots - len(parts), sum(above.values())
    if not total:
        above, total = dict.fromkeys(parts, 1), len(parts)
    due = {gateway: 1 + spare * each // total for gateway, each in above.items()}
    by_rest = sorted(parts, key=lambda gateway: (-(spare * above[gateway] % total), gateway))
    for gateway in by_rest[: slots - sum(due.values())]:
        due[gateway] += 1
    return due
