"""Money as integers.

Two units: *micros* (a millionth of the currency unit) in every setting and answer, and *picos* (a millionth of a micro)
in calculations. A price in micros per million tokens is a whole number of picos per token. So the cost of any number of
tokens is exact, and only an invoice line rounds.
"""

from typing import Any, NewType

from sqlalchemy import Dialect, Numeric, TypeDecorator

Picos = NewType("Picos", int)
Micros = NewType("Micros", int)

PICOS_PER_MICRO = 1_000_000


def from_micros(amount_micros: int) -> Picos:
    """Return the exact amount in picos."""
    return Picos(amount_micros * PICOS_PER_MICRO)


def to_micros_ceiling(amount_picos: int) -> Micros:
    """Return the amount in micros, rounded up; show the result, but never sum it."""
    return Micros(-(-amount_picos // PICOS_PER_MICRO))


class PicosColumn(TypeDecorator[int]):
    """NUMERIC(38, 0) as a Python int. A 64-bit column of picos would overflow at nine million currency units."""

    impl = Numeric(38, 0)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Return the integer unchanged; the driver accepts it for NUMERIC."""
        return value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        """Return the driver's Decimal as an int."""
        return None if value is None else int(value)
