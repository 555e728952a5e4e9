"""Tables of invoices and credit notes, payments and disputes."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Text
from sqlmodel import Field, SQLModel

from finpool.kernel.database.columns import PicosColumn


class InvoiceSeries(SQLModel, table=True):
    """The last number of one series; the row stays locked until the transaction ends, so no number is skipped."""

    __tablename__ = "invoice_series"

    series: str = Field(primary_key=True, sa_type=Text)
    last_number: int = Field(sa_type=BigInteger)


class Invoice(SQLModel, table=True):
    """An invoice or a credit note; the database keeps it as it was issued.

    An invoice covers usage admitted before `period_end` and numbered up to `cut_seq`, unless an earlier invoice covers
    it. Earlier ones cover usage admitted before `previous_end` (None without one), numbered up to `previous_cut_seq`.
    A credit note refers to an invoice and has no `cut_seq`.
    """

    __table_args__ = (ForeignKeyConstraint(["tenant_id", "refers_to"], ["invoice.tenant_id", "invoice.invoice_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    invoice_id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    number: str | None = Field(default=None, sa_type=Text, unique=True)
    refers_to: str | None = Field(default=None, sa_type=Text)
    reference: str | None = Field(default=None, sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    prepaid: bool
    currency: str = Field(sa_type=Text)
    seller_name: str = Field(sa_type=Text)
    buyer_name: str = Field(sa_type=Text)
    tax_label: str = Field(sa_type=Text)
    period_start: datetime = Field(sa_type=DateTime(timezone=True))
    period_end: datetime = Field(sa_type=DateTime(timezone=True))
    previous_end: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    previous_cut_seq: int | None = Field(default=None, sa_type=BigInteger)
    cut_seq: int | None = Field(default=None, sa_type=BigInteger)
    net_micros: int = Field(sa_type=BigInteger)
    tax_micros: int = Field(sa_type=BigInteger)
    total_micros: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    issued_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    paid_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class InvoiceLine(SQLModel, table=True):
    """One line: its exact amount in picos, the same rounded once to the currency's minor unit, and its tax."""

    __tablename__ = "invoice_line"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "invoice_id"], ["invoice.tenant_id", "invoice.invoice_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text)
    invoice_id: str = Field(primary_key=True, sa_type=Text)
    line_no: int = Field(primary_key=True)
    kind: str = Field(sa_type=Text)
    correction: bool
    charge_start: datetime = Field(sa_type=DateTime(timezone=True))
    charge_end: datetime = Field(sa_type=DateTime(timezone=True))
    project_id: str | None = Field(default=None, sa_type=Text)
    model_id: str | None = Field(default=None, sa_type=Text)
    price_version: str | None = Field(default=None, sa_type=Text)
    tier: str | None = Field(default=None, sa_type=Text)
    token_kind: str | None = Field(default=None, sa_type=Text)
    quantity_tokens: int | None = Field(default=None, sa_type=BigInteger)
    unit_picos: int | None = Field(default=None, sa_type=PicosColumn)
    reference: str | None = Field(default=None, sa_type=Text)
    refers_to_line: int | None = None
    amount_picos: int = Field(sa_type=PicosColumn)
    amount_micros: int = Field(sa_type=BigInteger)
    tax_basis_points: int
    tax_micros: int = Field(sa_type=BigInteger)


class Payment(SQLModel, table=True):
    """A payment of an invoice, or in advance for a prepaid account."""

    __table_args__ = (ForeignKeyConstraint(["tenant_id", "invoice_id"], ["invoice.tenant_id", "invoice.invoice_id"]),)

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    payment_id: str = Field(primary_key=True, sa_type=Text)
    invoice_id: str | None = Field(default=None, sa_type=Text)
    reference: str = Field(sa_type=Text)
    amount_micros: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


class Dispute(SQLModel, table=True):
    """A tenant's objection to a line or a request of its own; an operator answers it once."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "invoice_id", "line_no"],
            ["invoice_line.tenant_id", "invoice_line.invoice_id", "invoice_line.line_no"],
        ),
        ForeignKeyConstraint(["tenant_id", "request_id"], ["usage_record.tenant_id", "usage_record.request_id"]),
        ForeignKeyConstraint(["tenant_id", "credit_note_id"], ["invoice.tenant_id", "invoice.invoice_id"]),
        ForeignKeyConstraint(
            ["tenant_id", "adjustment_id"], ["usage_adjustment.tenant_id", "usage_adjustment.adjustment_id"]
        ),
    )

    tenant_id: str = Field(primary_key=True, sa_type=Text, foreign_key="tenant.tenant_id")
    dispute_id: str = Field(primary_key=True, sa_type=Text)
    invoice_id: str | None = Field(default=None, sa_type=Text)
    line_no: int | None = None
    request_id: str | None = Field(default=None, sa_type=Text)
    reason: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    opened_by: str = Field(sa_type=Text)
    opened_at: datetime = Field(sa_type=DateTime(timezone=True))
    answer: str | None = Field(default=None, sa_type=Text)
    answered_by: str | None = Field(default=None, sa_type=Text)
    answered_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    credit_note_id: str | None = Field(default=None, sa_type=Text)
    adjustment_id: str | None = Field(default=None, sa_type=Text)
