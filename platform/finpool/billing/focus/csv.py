"""FOCUS rows as CSV, with exact decimals."""

from collections.abc import Iterable

from finpool.billing.csv_table import csv_table
from finpool.billing.focus.rows import COLUMNS, FocusRow


def focus_csv(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as CSV (UTF-8) with a header."""
    return csv_table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
