"""Invoices as PDF and CSV say what the invoice says."""

import csv
import io
from collections.abc import Callable
from decimal import Decimal

import pytest
from pypdf import PdfReader

from finpool.billing.document.csv import invoice_csv
from finpool.billing.document.pdf import invoice_pdf
from finpool.billing.document.process import render
from finpool.billing.document.schemas import DocumentFormat, FocusFormat, Rendering
from finpool.billing.document.text import money, percent, price_per_million
from finpool.billing.invoice.schemas import InvoiceStatus, InvoiceView


def pages(content: bytes) -> list[str]:
    """Return each page's text without what readers put between glyphs: spaces by distance, zeros of 16-bit codes."""
    return ["".join(page.extract_text().replace("\0", "").split()) for page in PdfReader(io.BytesIO(content)).pages]


def test_a_pdf_holds_names_amounts_price_versions_and_marked_corrections(invoice: InvoiceView) -> None:
    (page,) = pages(invoice_pdf(invoice))
    for text in (
        "InvoiceINV-2026-000001",
        "金融模型池运营有限公司",
        "上海浦江银行股份有限公司(bank-a)",
        "2026-10-01to2026-10-31",
        "fin-7b@0123456789ab",
        "1,234,567",
        "CORRECTIONofanearlierperiod",
        "adjustmentadj_1",
        "Minimumcommitment",
        "VAT6%:1.24CNY",
        "Net:20.59CNY",
        "Total:21.83CNY",
        "Eachlineisroundedonceto0.01CNY",
        "page1of1",
    ):
        assert text in page, text
    assert page.count("CORRECTION") == 2


def test_a_credit_note_in_japanese_says_what_it_refers_to(credit_note: InvoiceView) -> None:
    (page,) = pages(invoice_pdf(credit_note))
    for text in (
        "CreditnoteCN-2026-000001",
        "株式会社さくら銀行",
        "誤請求のため",
        "Refersto:INV-2026-000001",
        "Total:-1.06CNY",
    ):
        assert text in page, text


def test_the_same_invoice_gives_the_same_bytes(invoice: InvoiceView) -> None:
    assert invoice_pdf(invoice) == invoice_pdf(invoice)


def test_a_draft_says_that_it_is_one(invoice: InvoiceView) -> None:
    draft = invoice.model_copy(update={"status": InvoiceStatus.DRAFT, "number": None, "issued_at": None})
    (page,) = pages(invoice_pdf(draft))
    assert "Draftofaninvoice(inv_1)" in page
    assert "notissued" in page


def test_many_lines_go_on_over_pages_that_repeat_headings_and_are_numbered(
    invoice: InvoiceView, invoice_of: Callable[..., InvoiceView]
) -> None:
    lines = tuple(invoice.lines[0].model_copy(update={"line_no": number}) for number in range(1, 81))
    found = pages(invoice_pdf(invoice_of(lines)))
    assert len(found) > 1
    for number, page in enumerate(found, start=1):
        assert f"page{number}of{len(found)}" in page
        assert "INV-2026-000001" in page
    assert all("No.What" in page for page in found[:-1])
    assert sum(page.count("Inputtokens") for page in found) == 80


def test_csv_has_a_record_for_each_line_with_exact_decimals(invoice: InvoiceView) -> None:
    records = list(csv.DictReader(io.StringIO(invoice_csv(invoice).decode())))
    assert [record["line"] for record in records] == [str(line.line_no) for line in invoice.lines]
    assert Decimal(records[0]["exact_amount"]) == Decimal("2.469134")
    assert [record["correction"] for record in records] == ["no", "no", "no", "yes", "no", "no", "yes"]
    for record in records:
        assert Decimal(record["exact_amount"]) + Decimal(record["rounding"]) == Decimal(record["amount"])
    total = sum(Decimal(record["amount"]) + Decimal(record["tax"]) for record in records)
    assert total == Decimal(invoice.total_micros).scaleb(-6)


@pytest.mark.parametrize(
    ("micros", "currency", "shown"),
    [
        (1_234_560_000, "CNY", "1,234.56"),
        (-60_000, "EUR", "-0.06"),
        (5_000_000, "JPY", "5"),
        (1_234_567_000, "JPY", "1,235"),
        (1_234_000, "KWD", "1.234"),
    ],
)
def test_amounts_have_the_currencys_own_decimals(micros: int, currency: str, shown: str) -> None:
    assert money(micros, currency) == shown


def test_prices_and_rates_have_no_trailing_zeros() -> None:
    assert (price_per_million(500_000), price_per_million(2_000_000)) == ("0.5", "2")
    assert (percent(600), percent(625), percent(0)) == ("6 %", "6.25 %", "0 %")


async def test_a_process_of_its_own_renders_the_same(invoice: InvoiceView) -> None:
    wanted = Rendering(name="a.csv", format=DocumentFormat.CSV, focus=False, invoices=(invoice,))
    assert await render(wanted) == invoice_csv(invoice)
    table = await render(Rendering(name="a.parquet", format=FocusFormat.PARQUET, focus=True, invoices=(invoice,)))
    assert table[:4] == table[-4:] == b"PAR1"
