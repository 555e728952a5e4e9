"""FOCUS rows as files: CSV and Parquet, both with exact decimals."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
from pyarrow import parquet

from finpool.billing.focus_rows import AMOUNT_COLUMNS, COLUMNS, TIME_COLUMNS, FocusRow, FocusValue

ROWS_PER_GROUP = 10_000
"""Rows of a Parquet file that are in memory at a time."""

_SCHEMA = pa.schema(
    [
        pa.field(
            name,
            pa.decimal128(38, 12)
            if name in AMOUNT_COLUMNS
            else pa.timestamp("us", tz="UTC")
            if name in TIME_COLUMNS
            else pa.string(),
        )
        for name in COLUMNS
    ],
    metadata={"FocusVersion": "1.3", "FocusDatasetId": "CostAndUsage"},
)


def focus_csv(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as CSV (UTF-8) with a header; null is an empty field, a moment is ISO 8601 in UTC."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_field(row[name]) for name in COLUMNS])
    return out.getvalue().encode()


def focus_parquet(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as Parquet: amounts are DECIMAL(38, 12), moments are UTC."""
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, _SCHEMA) as writer:
        group: list[FocusRow] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=_SCHEMA))
                group.clear()
        writer.write_table(pa.Table.from_pylist(group, schema=_SCHEMA))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _field(value: FocusValue) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return value
