"""`finpool invoice`, `finpool dispute` and `finpool top-up`: invoices, tenants' disputes, and prepayments."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_lines, show_list, show_one, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode

invoice_app = typer.Typer(no_args_is_help=True, help="Invoices and credit notes of a tenant.")
dispute_app = typer.Typer(no_args_is_help=True, help="Disputes of tenants about their invoices.")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
InvoiceArgument = Annotated[str, typer.Argument(metavar="INVOICE", help="Invoice id, not its number.")]
AmountOption = Annotated[int, typer.Option("--amount-micros", min=1, help="In micros of the currency.")]
ReferenceOption = Annotated[
    str, typer.Option("--reference", help="Its name in your books; a repeated reference is booked once.")
]

_INVOICE_COLUMNS = ("id", "kind", "number", "status", "period_start", "period_end", "total_micros", "currency")
_LINE_COLUMNS = (
    *("line_no", "kind", "correction", "project_id", "model_id", "price_version", "tier", "token_kind"),
    *("quantity_tokens", "amount_micros", "tax_micros"),
)
_DISPUTE_COLUMNS = ("id", "tenant_id", "status", "invoice_id", "line_no", "request_id", "reason", "answer")


class DisputeStatusChoice(StrEnum):
    """The status of a dispute."""

    OPEN = "open"
    REJECTED = "rejected"
    ACCEPTED = "accepted"


class Verdict(StrEnum):
    """The answer to a dispute."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@invoice_app.command("list")
def list_invoices(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List a tenant's invoices and credit notes, drafts included, the newest first."""
    show_list(operator_api().list(_invoices(tenant)), _INVOICE_COLUMNS, as_json=json, empty="No invoices.")


@invoice_app.command("show")
def show_invoice(tenant: TenantArgument, invoice: InvoiceArgument, json: JsonOption = False) -> None:
    """Show an invoice or a credit note with its lines."""
    _show_invoice(operator_api().get(_invoice(tenant, invoice)), json=json)


@invoice_app.command("draft")
def draft_invoice(
    tenant: TenantArgument,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Last month of the invoice, such as 2026-10.")],
    json: JsonOption = False,
) -> None:
    """Draft, or draft again, the invoice from the end of the last one to the end of a month."""
    _show_invoice(operator_api().post(_invoices(tenant), {"month": month}), json=json)


@invoice_app.command("issue")
def issue_invoice(tenant: TenantArgument, invoice: InvoiceArgument, json: JsonOption = False) -> None:
    """Number a draft and book it; an issued invoice never changes."""
    _show_invoice(operator_api().post(f"{_invoice(tenant, invoice)}/issue", {}), json=json)


@invoice_app.command("pay")
def pay_invoice(
    tenant: TenantArgument,
    invoice: InvoiceArgument,
    amount_micros: AmountOption,
    reference: ReferenceOption,
    json: JsonOption = False,
) -> None:
    """Book a payment, and show the open amount."""
    body = {"amount_micros": amount_micros, "reference": reference}
    show_one(operator_api().post(f"{_invoice(tenant, invoice)}/payments", body), as_json=json)


@invoice_app.command("credit")
def credit_invoice(
    tenant: TenantArgument,
    invoice: InvoiceArgument,
    reference: ReferenceOption,
    reason: Annotated[str, typer.Option("--reason", help="Printed on the credit note.")],
    line: Annotated[
        list[str] | None,
        typer.Option(
            "--line", metavar="NUMBER[=MICROS]", help="A line, or a part of it; repeat the option for several."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Issue a credit note over lines, or without --line over the whole rest of the invoice."""
    body: dict[str, Any] = {"reference": reference, "reason": reason}
    if line:
        body["lines"] = [_line_credit(each) for each in line]
    _show_invoice(operator_api().post(f"{_invoice(tenant, invoice)}/credit-notes", body), json=json)


@dispute_app.command("list")
def list_disputes(
    status: Annotated[
        DisputeStatusChoice | None, typer.Option("--status", help="Only disputes of this status.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the disputes of all tenants."""
    disputes = operator_api().list("/v1/disputes", {"status": status})
    show_list(disputes, _DISPUTE_COLUMNS, as_json=json, empty="No disputes.")


@dispute_app.command("answer")
def answer_dispute(
    tenant: TenantArgument,
    dispute: Annotated[str, typer.Argument(metavar="DISPUTE", help="Dispute id.")],
    verdict: Annotated[Verdict, typer.Option("--verdict", help="Accepting a dispute credits the disputed amount.")],
    answer: Annotated[str, typer.Option("--answer", help="Text for the tenant.")],
    credit_micros: Annotated[
        int | None,
        typer.Option("--credit-micros", min=1, help="A part of the amount, before tax; the whole rest without it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Answer a dispute once; the answer stays on record."""
    body: dict[str, Any] = {"verdict": verdict, "answer": answer}
    if credit_micros is not None:
        body["credit_micros"] = credit_micros
    path = f"/v1/tenants/{segment(tenant)}/disputes/{segment(dispute)}/answer"
    show_one(operator_api().post(path, body), as_json=json)


def top_up(
    tenant: TenantArgument, amount_micros: AmountOption, reference: ReferenceOption, json: JsonOption = False
) -> None:
    """Book a prepaid tenant's payment; the next request can spend it."""
    body = {"amount_micros": amount_micros, "reference": reference}
    show_one(operator_api().post(f"/v1/tenants/{segment(tenant)}/top-ups", body), as_json=json)


def _invoices(tenant: str) -> str:
    return f"/v1/tenants/{segment(tenant)}/invoices"


def _invoice(tenant: str, invoice: str) -> str:
    return f"{_invoices(tenant)}/{segment(invoice)}"


def _line_credit(given: str) -> dict[str, int]:
    number, separator, micros = given.partition("=")
    if not all(part.isascii() and part.isdigit() for part in ((number, micros) if separator else (number,))):
        raise CliError(
            f"--line takes a line's number, or number=micros, not {given!r}", code="usage", exit_code=ExitCode.USAGE
        )
    return {"line_no": int(number), **({"amount_micros": int(micros)} if separator else {})}


def _show_invoice(invoice: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(invoice)
        return
    show_fields({field: value for field, value in invoice.items() if field not in ("object", "lines")})
    show_lines([""])
    lines = invoice["lines"]
    show_table(_LINE_COLUMNS, ([line[column] for column in _LINE_COLUMNS] for line in lines), empty="No lines.")
