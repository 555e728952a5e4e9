"""`finpool contract` and `finpool pool`: the terms of tenants, and the pool's cost shared by its members."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_lines, show_table
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode
from finpool.kernel.clock import now

contract_app = typer.Typer(no_args_is_help=True, help="Discounts, commitments and payment of a tenant.")
pool_app = typer.Typer(no_args_is_help=True, help="The pool's cost of a month, and its members' fees.")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
MonthArgument = Annotated[str, typer.Argument(metavar="MONTH", help="A month such as 2026-11.")]

_TERMS = (
    "discount_basis_points",
    "commitment_micros",
    "pool_weight",
    "service_weight",
    "service_share_min_basis_points",
)
_WITHOUT_CONTRACT = {"service_weight": 1}
_CONTRACT_COLUMNS = ("version", "valid_from", "payment", *_TERMS)
_FEE_COLUMNS = ("tenant_id", "pool_weight", "fee_micros")


class PaymentChoice(StrEnum):
    """The payment terms of a tenant."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


@contract_app.command("list")
def list_contracts(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List a tenant's contracts, the latest first; future ones are included."""
    contracts = operator_api().list(_path(tenant))
    if json:
        show_json(contracts)
    else:
        rows = ([each.get(column) for column in _CONTRACT_COLUMNS] for each in contracts)
        show_table(_CONTRACT_COLUMNS, rows, empty="No contracts: list prices, paid after the month.")


@contract_app.command("set")
def set_contract(
    tenant: TenantArgument,
    discount_basis_points: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Off every token's price; 500 is 5 percent.")
    ] = None,
    commitment_micros: Annotated[int | None, typer.Option(min=0, help="Least amount of a full month.")] = None,
    pool_weight: Annotated[int | None, typer.Option(min=0, help="Weight in the pool's cost; 0: no member.")] = None,
    service_weight: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Weight of its share of a busy engine.")
    ] = None,
    service_share_min_basis_points: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Least share of a busy engine.")
    ] = None,
    payment: Annotated[PaymentChoice | None, typer.Option(help="Payment terms; a change takes effect at once.")] = None,
    begins: Annotated[
        str | None, typer.Option("--from", help="Start: date and time with zone; by default now.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Set the given terms, and keep the other terms of the contract that holds at the start."""
    values = (
        discount_basis_points,
        commitment_micros,
        pool_weight,
        service_weight,
        service_share_min_basis_points,
    )
    given = dict(zip(_TERMS, values, strict=True))
    if payment is None and all(value is None for value in given.values()):
        raise CliError("nothing to set: give at least one term", code="usage", exit_code=ExitCode.USAGE)
    api = operator_api()
    held = _held_at(api.list(_path(tenant)), begins)
    kept = {term: held.get(term, _WITHOUT_CONTRACT.get(term, 0)) for term in _TERMS}
    body = {term: kept[term] if value is None else value for term, value in given.items()}
    contract = api.post(_path(tenant), {**body, "payment": payment, "valid_from": begins})
    if json:
        show_json(contract)
    else:
        show_fields({column: contract[column] for column in _CONTRACT_COLUMNS})


@pool_app.command("cost")
def set_pool_cost(
    month: MonthArgument,
    amount_micros: Annotated[int, typer.Option(min=0, help="The pool's cost of the month.")],
    equal_share_basis_points: Annotated[
        int, typer.Option(min=0, max=10_000, help="Part to share equally; the rest is shared by weight.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Set the pool's cost of a month, and show the members' fees."""
    body = {"amount_micros": amount_micros, "equal_share_basis_points": equal_share_basis_points}
    _show_month(operator_api().put(_pool_path(month), body), json=json)


@pool_app.command("fees")
def show_fees(month: MonthArgument, json: JsonOption = False) -> None:
    """Show the pool's cost of a month and each member's fee."""
    _show_month(operator_api().get(_pool_path(month)), json=json)


def _held_at(contracts: list[dict[str, Any]], begins: str | None) -> dict[str, Any]:
    """Return the contract that holds at `begins`, by default now; `contracts` are sorted, the latest first."""
    try:
        moment = now() if begins is None else datetime.fromisoformat(begins)
        begun = [each for each in contracts if datetime.fromisoformat(each["valid_from"]) <= moment]
    except (ValueError, TypeError):
        raise CliError(
            f"--from takes a date and time with zone, such as 2026-12-01T00:00:00Z, not {begins!r}",
            code="usage",
            exit_code=ExitCode.USAGE,
        ) from None
    return begun[0] if begun else {}


def _path(tenant_id: str) -> str:
    return f"/v1/tenants/{segment(tenant_id)}/contracts"


def _pool_path(month: str) -> str:
    return f"/v1/pool-costs/{segment(month)}"


def _show_month(month: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(month)
        return
    equal = month["equal_share_basis_points"] / 100
    show_lines([f"{month['month'][:7]}: {month['amount_micros']} micros {month['currency']}, {equal:g} % equally"])
    show_table(
        _FEE_COLUMNS, ([fee[column] for column in _FEE_COLUMNS] for fee in month["fees"]), empty="No members yet."
    )
