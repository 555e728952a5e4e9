"""Texts in CSV files run in no spreadsheet, and numbers stay numbers."""

import csv
import io
import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from source_files import module_sources

from finpool.billing.csv_table import csv_table
from finpool.billing.document.csv import invoice_csv
from finpool.billing.focus.csv import focus_csv
from finpool.billing.focus.rows import focus_rows
from finpool.billing.invoice.schemas import InvoiceView

LIVE = '=HYPERLINK("http://x","y")'
SIGNS = "=+-@＝＋－＠﹦﹢﹣﹫⁺⁻⁼−"


def cells(content: bytes) -> list[str]:
    """Return the cells of the one record after the header, as a spreadsheet reads them."""
    _, record = csv.reader(io.StringIO(content.decode(), newline=""))
    return record


def runs(cell: str) -> bool:
    """Tell whether a spreadsheet may take the cell for a formula; white space in front does not help."""
    text = cell.lstrip().lstrip("\u200b\ufeff\0")
    first = unicodedata.normalize("NFKC", text[:1])
    return cell[:1] in ("\t", "\r", "\n") or first[:1] in ("=", "+", "-", "@") or text[:1] == "−"


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", ["", " ", "\t", "\r", "\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "  \t"])
def test_a_text_that_begins_a_formula_gets_an_apostrophe(before: str, sign: str) -> None:
    (cell,) = cells(csv_table(["name"], [[f"{before}{sign}1+1"]]))
    assert cell.startswith("'")
    assert cell.replace("'", "") == f"{before}{sign}1+1"
    assert not runs(cell)


@pytest.mark.parametrize("text", ["Credit", "a=b", "1-2", "bank-a", "'quoted'", "銀行", "a; b", "fin-7b@0123", "x, -y"])
def test_other_texts_are_written_as_they_are(text: str) -> None:
    assert cells(csv_table(["name"], [[text]])) == [text]


@given(st.lists(st.text() | st.text(alphabet=SIGNS + "; \t\r\na", max_size=6), min_size=1, max_size=4))
@example(["a;=1"])
@example(["\t\t=1"])
def test_no_cell_runs_whatever_separates_cells(texts: list[str]) -> None:
    written = cells(csv_table([str(number) for number in range(len(texts))], [texts]))
    assert len(written) == len(texts)
    parts = [part for cell in written for part in cell.replace("\t", ";").split(";")[1:]]
    assert not any(runs(each) for each in [*written, *parts] if each), written
    assert [cell.replace("'", "") for cell in written] == [text.replace("'", "") for text in texts]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12), st.integers())
def test_numbers_stay_numbers(amount: Decimal, count: int) -> None:
    moment = datetime(2026, 10, 1, tzinfo=UTC)
    first, second, third, fourth = cells(csv_table(["a", "b", "c", "d"], [[amount, count, None, moment]]))
    assert (Decimal(first), int(second), third, fourth) == (amount, count, "", "2026-10-01T00:00:00Z")


def test_names_of_a_bank_are_inert_in_its_invoice_and_in_its_focus_file(invoice: InvoiceView) -> None:
    line = invoice.lines[0].model_copy(update={"model_id": LIVE, "project_id": "+1", "reference": "@x"})
    named = invoice.model_copy(update={"buyer_name": LIVE, "seller_name": "-1", "lines": (line,), "tax_label": "=t"})
    for content in (invoice_csv(named), focus_csv(focus_rows(named, {"+1": "\uff1dx"}))):
        records = list(csv.DictReader(io.StringIO(content.decode())))
        texts = [value for record in records for name, value in record.items() if "Cost" not in name and value]
        assert records
        assert not any(runs(each) for each in texts)
        assert "'" + LIVE in texts


def test_every_csv_file_passes_through_this_writer() -> None:
    sources = module_sources()
    writers = {
        name for name, source in sources.items() if re.search(r"csv\.(writer|DictWriter)|text/csv|to_csv", source)
    }
    assert writers == {"finpool.billing.csv_table", "finpool.billing.document.schemas"}
    assert not any(re.search(r"openpyxl|xlsxwriter|write_csv", source) for source in sources.values())
