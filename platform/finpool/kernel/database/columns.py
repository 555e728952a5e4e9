"""Columns with types of their own."""

from typing import Any

from sqlalchemy import Dialect, Numeric, TypeDecorator


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
