"""Invoices with every kind of line, as they are shown."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from finpool.billing.invoice.schemas import (
    InvoiceKind,
    InvoiceLineView,
    InvoiceStatus,
    InvoiceView,
    LineKind,
    TokenKind,
)

SEPTEMBER, OCTOBER, NOVEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (9, 10, 11))

Lines = tuple[InvoiceLineView, ...]


def line(number: int, kind: LineKind, **fields: object) -> InvoiceLineView:
    """Return a line of October; amounts and what identifies it are given."""
    blank: dict[str, object] = dict.fromkeys(InvoiceLineView.model_fields)
    fixed = {
        "line_no": number,
        "kind": kind,
        "correction": False,
        "charge_start": OCTOBER,
        "charge_end": NOVEMBER,
        "amount_picos": 0,
        "amount_micros": 0,
        "tax_basis_points": 600,
        "tax_micros": 0,
    }
    return InvoiceLineView.model_validate({**blank, **fixed, **fields})


def usage(
    number: int, kind: TokenKind, tokens: int, unit_picos: int, micros: int, tax: int, **more: object
) -> InvoiceLineView:
    """Return a line of usage; its exact amount follows from tokens and price."""
    return line(
        number,
        LineKind.USAGE,
        project_id="credit",
        model_id="fin-7b",
        price_version="fin-7b@0123456789ab",
        tier="standard",
        token_kind=kind,
        quantity_tokens=tokens,
        unit_picos=unit_picos,
        amount_picos=tokens * unit_picos,
        amount_micros=micros,
        tax_micros=tax,
        **more,
    )


def every_line() -> Lines:
    """Return one line of each kind."""
    return (
        usage(1, TokenKind.INPUT, 1_234_567, 2_000_000, 2_470_000, 150_000),
        usage(2, TokenKind.CACHED_INPUT, 1_000, 500_000, 0, 0),
        usage(3, TokenKind.OUTPUT, 765_432, 8_000_000, 6_120_000, 370_000),
        usage(4, TokenKind.INPUT, -500_000, 2_000_000, -1_000_000, -60_000, correction=True, charge_start=SEPTEMBER),
        line(5, LineKind.COMMITMENT, amount_picos=5 * 10**12, amount_micros=5_000_000, tax_micros=300_000),
        line(6, LineKind.MEMBERSHIP, amount_picos=7 * 10**12, amount_micros=7_000_000, tax_micros=420_000),
        line(
            7,
            LineKind.LEASE_CHARGE,
            correction=True,
            reference="adj_1",
            amount_picos=10**12,
            amount_micros=1_000_000,
            tax_micros=60_000,
        ),
    )


def make_invoice(lines: Lines, **fields: object) -> InvoiceView:
    """Return an issued invoice of October over these lines."""
    net, tax = sum(each.amount_micros for each in lines), sum(each.tax_micros for each in lines)
    fixed = {
        "id": "inv_1",
        "tenant_id": "bank-a",
        "kind": InvoiceKind.INVOICE,
        "status": InvoiceStatus.ISSUED,
        "number": "INV-2026-000001",
        "refers_to": None,
        "refers_to_number": None,
        "reference": None,
        "reason": None,
        "prepaid": False,
        "currency": "CNY",
        "seller_name": "金融模型池运营有限公司",
        "buyer_name": "上海浦江银行股份有限公司",
        "tax_label": "VAT",
        "period_start": OCTOBER,
        "period_end": NOVEMBER,
        "previous_end": OCTOBER,
        "previous_cut_seq": 0,
        "cut_seq": 100,
        "net_micros": net,
        "tax_micros": tax,
        "total_micros": net + tax,
        "created_at": NOVEMBER,
        "issued_at": NOVEMBER,
        "paid_at": None,
        "lines": lines,
    }
    return InvoiceView.model_validate({**fixed, **fields})


@pytest.fixture
def invoice() -> InvoiceView:
    """An invoice with one line of each kind."""
    return make_invoice(every_line())


@pytest.fixture
def invoice_of() -> Callable[..., InvoiceView]:
    """Make an invoice: `invoice_of(lines, currency="JPY")`."""
    return make_invoice


@pytest.fixture
def credit_note() -> InvoiceView:
    """A credit note over a line of it, in Japanese."""
    credit = line(
        1,
        LineKind.CREDIT,
        correction=True,
        project_id="credit",
        refers_to_line=1,
        amount_picos=-(10**12),
        amount_micros=-1_000_000,
        tax_micros=-60_000,
    )
    return make_invoice(
        (credit,),
        id="cn_1",
        kind=InvoiceKind.CREDIT_NOTE,
        number="CN-2026-000001",
        refers_to="inv_1",
        refers_to_number="INV-2026-000001",
        reason="誤請求のため",
        buyer_name="株式会社さくら銀行",
        cut_seq=None,
        previous_cut_seq=None,
        previous_end=None,
    )
