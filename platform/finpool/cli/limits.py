"""`finpool limits` and `finpool account`: a tenant's limits, and its spending."""

from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_table
from finpool.client.api import ApiClient, segment
from finpool.client.errors import CliError, ExitCode
from finpool.quota.schemas import Limits, Scope, SetBy

limits_app = typer.Typer(no_args_is_help=True, help="Budgets, rates and concurrency of a tenant and its parts.")

NOT_LIMITED = "none"

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
BudgetOption = Annotated[str | None, typer.Option(metavar="MICROS", help=f"Micros, or '{NOT_LIMITED}' for no limit.")]
RateOption = Annotated[str | None, typer.Option(metavar="N", help=f"A whole number, or '{NOT_LIMITED}' for no limit.")]

_LIMIT_COLUMNS = ("set_by", "scope", "scope_id", *Limits.model_fields)
_BUDGET_COLUMNS = (
    "set_by",
    "scope",
    "scope_id",
    "period",
    "limit_micros",
    "posted_micros",
    "pending_micros",
    "resets_at",
)


@limits_app.command("list")
def list_limits(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List every limit on a tenant, its projects, keys and models, with its author; the tightest limit wins."""
    limits = operator_api().list(_path(tenant))
    if json:
        show_json(limits)
    else:
        # A table of all limits is too wide for most windows, so columns without a limit are left out.
        rows = [{**each, **each["limits"]} for each in limits]
        columns = [column for column in _LIMIT_COLUMNS if any(row[column] not in (None, []) for row in rows)]
        show_table(columns, ([_shown(row[column]) for column in columns] for row in rows), empty="No limits.")


@limits_app.command("set")
def set_limits(
    tenant: TenantArgument,
    scope: Annotated[Scope, typer.Option(help="Scope of the limits.")] = Scope.TENANT,
    scope_id: Annotated[
        str | None, typer.Option("--id", help="Id of the project, key or model; a tenant needs none.")
    ] = None,
    budget_day_micros: BudgetOption = None,
    budget_month_micros: BudgetOption = None,
    budget_total_micros: BudgetOption = None,
    soft_thresholds_percent: Annotated[
        str | None, typer.Option(metavar="P,P", help=f"Percentages of each budget, or '{NOT_LIMITED}'.")
    ] = None,
    requests_per_minute: RateOption = None,
    tokens_per_minute: RateOption = None,
    concurrency: RateOption = None,
    json: JsonOption = False,
) -> None:
    """Set the given limits and keep the others; they hold from the next request on, on every replica."""
    given = {
        "budget_day_micros": budget_day_micros,
        "budget_month_micros": budget_month_micros,
        "budget_total_micros": budget_total_micros,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrency": concurrency,
    }
    changed: dict[str, Any] = {field: _limit(field, value) for field, value in given.items() if value is not None}
    if soft_thresholds_percent is not None:
        changed["soft_thresholds_percent"] = _percents(soft_thresholds_percent)
    if not changed:
        raise _wrong_usage("nothing to set: give at least one limit")
    about = _subject(tenant, scope, scope_id)
    api = operator_api()
    view = api.put(f"{_path(tenant)}/{scope}/{segment(about)}", {**_in_force(api, tenant, scope, about), **changed})
    if json:
        show_json(view)
    else:
        limits = {field: "not limited" if value is None else value for field, value in view["limits"].items()}
        show_fields({"scope": view["scope"], "scope_id": view["scope_id"], **limits})


def show_account(tenant: TenantArgument, json: JsonOption = False) -> None:
    """Show a tenant's account and budgets in micros: spent (posted), and held by leases (pending)."""
    account = operator_api().get(f"/v1/tenants/{segment(tenant)}/account")
    if json:
        show_json(account)
        return
    budgets = account.pop("budgets")
    show_fields(account)
    rows = ([budget[column] for column in _BUDGET_COLUMNS] for budget in budgets)
    show_table(_BUDGET_COLUMNS, rows, empty="No budget was set: nothing may be spent.")


def _shown(value: object) -> object:
    return None if value == [] else value


def _in_force(api: ApiClient, tenant: str, scope: Scope, scope_id: str) -> dict[str, Any]:
    """Return the operators' limits on this scope, or no limits if none are set."""
    for each in api.list(_path(tenant)):
        if (each["set_by"], each["scope"], each["scope_id"]) == (SetBy.OPERATOR, scope, scope_id):
            limits: dict[str, Any] = each["limits"]
            return limits
    return Limits().model_dump()


def _subject(tenant: str, scope: Scope, scope_id: str | None) -> str:
    if scope is Scope.TENANT:
        if scope_id not in (None, tenant):
            raise _wrong_usage("--id needs --scope project, key or model")
        return tenant
    if scope_id is None:
        raise _wrong_usage(f"--scope {scope} needs --id")
    return scope_id


def _limit(field: str, value: str) -> int | None:
    if value == NOT_LIMITED:
        return None
    if not value.isascii() or not value.isdigit():
        raise _wrong_usage(f"--{field.replace('_', '-')} must be a whole number or '{NOT_LIMITED}', not {value!r}")
    return int(value)


def _percents(value: str) -> list[int]:
    if value == NOT_LIMITED:
        return []
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise _wrong_usage(f"--soft-thresholds-percent must be like 50,80,100 or '{NOT_LIMITED}', not {value!r}")
    return [int(part) for part in parts]


def _wrong_usage(message: str) -> CliError:
    return CliError(message, code="usage", exit_code=ExitCode.USAGE)


def _path(tenant: str) -> str:
    return f"/v1/tenants/{segment(tenant)}/limits"
