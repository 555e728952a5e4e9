"""Money as integers.

Two units: *micros* (a millionth of the currency unit) in every setting and answer, and *picos* (a millionth of a micro)
in calculations. A price in micros per million tokens is a whole number of picos per token. So the cost of any number of
tokens is exact, and only an invoice line rounds.
"""

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
