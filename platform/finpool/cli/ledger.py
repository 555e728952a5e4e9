"""`finpool ledger` and `finpool invoice save`: the reconciliation of the books, and invoices as files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finpool.billing.document.schemas import DocumentFormat, FocusFormat
from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_lines, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode
from finpool.installation.home.home import local_settings
from finpool.installation.pool.engine_counts import differences as engine_differences
from finpool.installation.pool.engine_counts import engine_counts, usage_by_engine

ledger_app = typer.Typer(no_args_is_help=True, help="Reconciliation of the books, and their files.")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
InvoiceArgument = Annotated[str, typer.Argument(metavar="INVOICE", help="Invoice id, not its number.")]
OutputOption = Annotated[Path, typer.Option("--output", help="File to write; an existing file is replaced.")]

_DIFFERENCE_COLUMNS = ("tenant_id", "left", "right", "subject", "left_value", "right_value")


@ledger_app.command("reconcile")
def reconcile(
    start: Annotated[
        str | None,
        typer.Option("--from", help="Begin: date, time with zone, or Unix seconds; by default this month's."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, not included; now if left out.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    engines: Annotated[
        bool, typer.Option("--engines", help="Also compare the counts of this machine's engines since their start.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare engines, log, usage, accounts, ledger, invoices and exports; exit code 4 on any difference."""
    if engines and tenant is not None:
        raise CliError("engines count for all tenants: leave --tenant out", code="usage", exit_code=ExitCode.USAGE)
    api = operator_api()
    result = api.get("/v1/reconciliation", {"from": start, "to": end, "tenant_id": tenant})
    if engines:
        period = {"from": result["from"], "to": result["to"], "group_by": "model"}
        # The engine of an adapter's base counts its tokens.
        engine_of = {model["id"]: model.get("base") or model["id"] for model in api.list("/v1/models")}
        used = usage_by_engine(api.get("/v1/usage", period)["data"], engine_of)
        settings = local_settings()
        result["engines"] = "counters"
        result["differences"] += engine_differences(engine_counts(settings), used)
    if json:
        show_json(result)
    else:
        _show(result)
    if result["differences"]:
        raise typer.Exit(ExitCode.DIFFERENCES)


@ledger_app.command("focus")
def save_focus(
    tenant: TenantArgument,
    output: OutputOption,
    start: Annotated[str, typer.Option("--from", help="First month, such as 2026-10.")],
    end: Annotated[str, typer.Option("--to", help="Last month.")],
    as_format: Annotated[FocusFormat, typer.Option("--format", help="csv or parquet.")] = FocusFormat.CSV,
    json: JsonOption = False,
) -> None:
    """Save a tenant's invoiced charges of some months in FOCUS 1.3."""
    query = {"from": start, "to": end, "format": as_format.value}
    _save(operator_api().download(f"/v1/tenants/{segment(tenant)}/focus", query), output, json=json)


def save_invoice(
    tenant: TenantArgument,
    invoice: InvoiceArgument,
    output: OutputOption,
    as_format: Annotated[DocumentFormat, typer.Option("--format", help="pdf or csv.")] = DocumentFormat.PDF,
    json: JsonOption = False,
) -> None:
    """Save an invoice, a draft or a credit note as PDF, or its lines as CSV."""
    path = f"/v1/tenants/{segment(tenant)}/invoices/{segment(invoice)}/file"
    _save(operator_api().download(path, {"format": as_format.value}), output, json=json)


def _show(result: dict[str, Any]) -> None:
    show_lines([f"from {result['from']} to {result['to']}; engines as {_ENGINES[result['engines']]}"])
    for totals in result["tenants"]:
        show_lines([""])
        show_fields(totals)
    differences: list[dict[str, Any]] = result["differences"]
    show_lines(["", "1 difference" if len(differences) == 1 else f"{len(differences)} differences"])
    if differences:
        rows = ([each[column] for column in _DIFFERENCE_COLUMNS] for each in differences)
        show_table(_DIFFERENCE_COLUMNS, rows, empty="")


_ENGINES = {"log": "the log has what they reported for each request", "counters": "they counted by themselves"}


def _save(content: bytes, output: Path, *, json: bool) -> None:
    output.write_bytes(content)
    saved = {"path": str(output), "bytes": len(content)}
    if json:
        show_json(saved)
    else:
        show_lines([f"{output}: {len(content)} bytes"])
