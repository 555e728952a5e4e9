"""The one writer of CSV files: exact numbers, and no text that a spreadsheet would run.

Spreadsheets take a cell that begins with =, +, - or @ for a formula, in the full-width forms of East Asian keyboards
too. Banks write names, so such a text gets an apostrophe in front: it tells a spreadsheet that text follows. In many
countries a semicolon or a tab begins a new cell, so the text after one is treated alike. Numbers are written by the
platform and stay numbers. Parquet and JSON hold every text as it is.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain

CsvValue = str | int | Decimal | datetime | None

_SIGNS = "=+\\-@" + "\uff1d\uff0b\uff0d\uff20" + "\ufe66\ufe62\ufe63\ufe6b" + "\u207a\u207b\u207c\u2212"
"""The signs of a formula: plain, full-width, small, raised, and the minus of mathematics."""

_SKIPPED = r"[\s\x00-\x20\u200b-\u200f\ufeff]"
"""White space and invisible characters, which spreadsheets skip at the beginning of a cell."""

_FORMULA = re.compile(rf"(^|[;\t\r\n])(?=[\t\r\n]|{_SKIPPED}*[{_SIGNS}])")


def csv_table(columns: Sequence[str], records: Iterable[Iterable[CsvValue]]) -> bytes:
    """Return CSV (UTF-8) with a header; null is an empty field, a time is ISO 8601 in UTC, a decimal is exact."""
    fields = ([_field(value) for value in record] for record in records)
    return "".join(map(_record, chain([list(columns)], fields))).encode()


def inert(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe stands before each beginning of one."""
    return _FORMULA.sub(r"\1'", text)


def _record(fields: list[str]) -> str:
    out = io.StringIO(newline="")
    # The writer quotes a field that holds a character of its line end, so this one quotes both of them.
    csv.writer(out, lineterminator="\r\n").writerow(fields)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _field(value: CsvValue) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, int):
        return str(value)
    return inert(value)
