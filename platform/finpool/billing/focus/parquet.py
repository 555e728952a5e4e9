"""FOCUS rows as Parquet, with exact decimals."""

from collections.abc import Iterable

import pyarrow as pa
from pyarrow import parquet

from finpool.billing.focus.rows import AMOUNT_COLUMNS, COLUMNS, TIME_COLUMNS, FocusRow

ROWS_PER_GROUP = 10_000
"""Rows of a Parquet file held in memory at a time."""

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


def focus_parquet(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as Parquet: amounts are DECIMAL(38, 12), times are UTC."""
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
