"""An invoice as PDF. An equal invoice gives equal bytes, and its text can be extracted.

Text of any script that the fonts cover is shaped, and runs from the right where its script does. The used glyphs are
embedded, so every reader shows the same page.
"""

import unicodedata
from collections.abc import Iterator

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from finpool.billing.document.fonts import FAMILY, family_for, fonts_for
from finpool.billing.document.text import (
    day,
    last_day,
    left_out,
    line_details,
    line_title,
    money,
    percent,
    price_per_million,
    rounding,
    title,
)
from finpool.billing.invoice.schemas import InvoiceLineView, InvoiceView

_PAGE_WIDTH_MM = 190
_MARGIN_MM = 10
_FOOTER_MM = 15
_WIDTHS_MM = (10, 58, 34, 30, 32, 26)
_HEADINGS = ("No.", "What", "Tokens", "Price per 1M", "Net", "Tax")
_ROW_MM = 5.0
_DETAILS_MM = 3.6
_DETAILS_LINES_MAX = 3
_GREY, _BLACK, _PALE = 110, 0, 235


def invoice_pdf(invoice: InvoiceView) -> bytes:
    """Return an invoice or a credit note as PDF (A4); each page of a draft is marked as a draft.

    Raises `MissingGlyph` if no font has a character of it.
    """
    pages = _Pages(invoice)
    pages.add_page()
    _parties(pages, invoice)
    _lines(pages, invoice)
    _totals(pages, invoice)
    return bytes(pages.output())


class _Pages(FPDF):
    """A4 pages with the document's name at the top and page numbers at the bottom."""

    def __init__(self, invoice: InvoiceView) -> None:
        super().__init__(format="A4")
        self._name = title(invoice)
        self.in_table = False
        self._fonts = fonts_for(dict(_texts(invoice)))
        for font in self._fonts:
            self.add_font(font.family, fname=font.path, collection_font_number=font.face)
        self.set_fallback_fonts([font.family for font in self._fonts], exact_match=False)
        self.set_text_shaping(True)
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, margin=_FOOTER_MM + 5)
        # An equal document must give equal bytes, so the creation date is the invoice's.
        self.set_creation_date(invoice.issued_at or invoice.created_at)
        self.set_title(self._name)
        self.set_author(invoice.seller_name)
        self.set_creator("FinPool")
        self.set_lang("en")

    def header(self) -> None:
        """Write the document's name and, inside the lines' table, its column headings."""
        self.write_text(self._name, size=14, height_mm=9)
        self.ln(2)
        if self.in_table:
            self.headings()

    def footer(self) -> None:
        """Write the page's number and the number of pages."""
        self.set_y(-_FOOTER_MM)
        self.write_text(f"{self._name} · page {self.page_no()} of {{nb}}", size=8, height_mm=5, grey=True)

    def headings(self) -> None:
        """Write the column headings of the lines' table."""
        self.set_fill_color(_PALE)
        self.row(_HEADINGS, fill=True)

    def row(self, cells: tuple[str, ...], *, fill: bool = False) -> None:
        """Write one row; the first two columns are text, the others are amounts."""
        self.set_font(FAMILY, size=9)
        self.set_text_color(_BLACK)
        for number, (width, cell) in enumerate(zip(_WIDTHS_MM, cells, strict=True)):
            self.cell(width, _ROW_MM, cell, align="L" if number < 2 else "R", fill=fill)
        self.ln(_ROW_MM)

    def write_text(self, text: str, *, size: float, height_mm: float, grey: bool = False, indent_mm: float = 0) -> None:
        """Write text on separate lines, wrapped at the page's width."""
        self.set_font(family_for(text, self._fonts), size=size)
        self.set_text_color(_GREY if grey else _BLACK)
        self.set_x(_MARGIN_MM + indent_mm)
        self.multi_cell(_PAGE_WIDTH_MM - indent_mm, height_mm, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _texts(invoice: InvoiceView) -> Iterator[tuple[str, str]]:
    """Yield every text of an invoice with the name of its field."""
    yield "the form", f"{title(invoice)} {rounding(invoice)} ·"
    for name, value in invoice:
        if isinstance(value, str):
            yield name, value
    for line in invoice.lines:
        yield f"lines.{line.line_no}", line_details(line)


def _runs_from_the_right(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _parties(pages: _Pages, invoice: InvoiceView) -> None:
    facts = [
        ("From", invoice.seller_name or "-"),
        ("To", f"{invoice.buyer_name} ({invoice.tenant_id})"),
        ("Period", f"{day(invoice.period_start)} to {last_day(invoice.period_end)} (UTC)"),
        ("Issued", day(invoice.issued_at) if invoice.issued_at else "not issued: this is a draft"),
        ("Refers to", invoice.refers_to_number or ""),
        ("Reason", invoice.reason or ""),
        ("Currency", invoice.currency),
    ]
    for name, value in facts:
        if _runs_from_the_right(value):
            # A paragraph of its own gets the direction of its first letter.
            pages.write_text(f"{name}:", size=10, height_mm=6)
            pages.write_text(value, size=10, height_mm=6)
        elif value:
            pages.write_text(f"{name}: {value}", size=10, height_mm=6)
    pages.ln(4)


def _lines(pages: _Pages, invoice: InvoiceView) -> None:
    pages.headings()
    pages.in_table = True
    for line in invoice.lines:
        # Keep a line on one page.
        if pages.will_page_break(_ROW_MM + _DETAILS_LINES_MAX * _DETAILS_MM):
            pages.add_page()
        pages.row(_cells(invoice, line))
        pages.write_text(line_details(line), size=7, height_mm=_DETAILS_MM, grey=True, indent_mm=_WIDTHS_MM[0])
    pages.in_table = False


def _cells(invoice: InvoiceView, line: InvoiceLineView) -> tuple[str, ...]:
    return (
        str(line.line_no),
        line_title(line),
        "" if line.quantity_tokens is None else f"{line.quantity_tokens:,}",
        "" if line.unit_picos is None else price_per_million(line.unit_picos),
        money(line.amount_micros, invoice.currency),
        money(line.tax_micros, invoice.currency),
    )


def _totals(pages: _Pages, invoice: InvoiceView) -> None:
    pages.ln(3)
    rates = sorted({line.tax_basis_points for line in invoice.lines})
    label = invoice.tax_label or "Tax"
    sums = [
        ("Net", invoice.net_micros),
        (f"{label} {', '.join(percent(rate) for rate in rates)}".strip(), invoice.tax_micros),
        ("Total", invoice.total_micros),
    ]
    for name, amount in sums:
        pages.write_text(f"{name}: {money(amount, invoice.currency)} {invoice.currency}", size=11, height_mm=6)
    pages.write_text(rounding(invoice), size=8, height_mm=5, grey=True)
    if left_out(invoice):
        pages.write_text(left_out(invoice), size=9, height_mm=5)
    if invoice.prepaid:
        pages.write_text("Paid out of what was paid in advance.", size=9, height_mm=5)
