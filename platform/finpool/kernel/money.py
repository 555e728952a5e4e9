"""Money as integers.

Two units: *micros* (a millionth of the currency unit) in every setting and answer, and *picos* (a millionth of a micro)
in calculations. A price in micros per million tokens is a whole number of picos per token. So the cost of any number of
tokens is exact, and only an invoice line rounds.
"""

from collections.abc import Sequence
from typing import NewType

Picos = NewType("Picos", int)
Micros = NewType("Micros", int)

PICOS_PER_MICRO = 1_000_000


def from_micros(amount_micros: int) -> Picos:
    """Return the exact amount in picos."""
    return Picos(amount_micros * PICOS_PER_MICRO)


def to_micros_ceiling(amount_picos: int) -> Micros:
    """Return the amount in micros, rounded up; show the result, but never sum it."""
    return Micros(-(-amount_picos // PICOS_PER_MICRO))


def micros_of_groups(amounts_picos: Sequence[int]) -> list[Micros]:
    """Return the micros of each group of a whole; they sum to the whole, which is rounded up once.

    Each group gets the whole micros of its amount. The left ones go one each to the largest remainders, the first of
    equal ones first. So a group is less than a micro from its exact amount.
    """
    parts = [amount // PICOS_PER_MICRO for amount in amounts_picos]
    left = to_micros_ceiling(sum(amounts_picos)) - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda number: -(amounts_picos[number] % PICOS_PER_MICRO))
    for number in by_remainder[:left]:
        parts[number] += 1
    return [Micros(each) for each in parts]
