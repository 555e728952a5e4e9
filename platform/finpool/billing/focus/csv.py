"""FOCUS rows as CSV, with exact decimals."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from finpool.billing.focus.rows import COLUMNS, FocusRow, FocusValue


def focus_csv(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as CSV (UTF-8) with a header; null is an empty field, a time is ISO 8601 in UTC."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_field(row[name]) for name in COLUMNS])
    return out.getvalue().encode()


def _field(value: FocusValue) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return value
