"""Money is an integer, always.

Two units: *micros* (a millionth of the currency unit) for everything people set and read, and *picos* (a millionth
of a micro) inside. A price in micros per million tokens is a whole number of picos per token, so the cost of any
number of tokens is exact, and nothing is rounded before an invoice line.
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
    """Return the amount in micros, rounded up: for showing what is spent, never for adding up."""
    return Micros(-(-amount_picos // PICOS_PER_MICRO))


class PicosColumn(TypeDecorator[int]):
    """NUMERIC(38, 0) read as a Python int: a 64-bit column of picos would overflow at nine million currency units."""

    impl = Numeric(38, 0)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Pass integers on; the driver takes them for NUMERIC as they are."""
        return value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        """Return an int; the driver gives a Decimal."""
        return None if value is None else int(value)
