"""`finpool usage estimated` and `finpool usage correct`: usage estimated at the last mark, and its correction."""

from typing import Annotated

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_fields, show_json, show_table
from finpool.client.api import segment

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
Tokens = Annotated[int, typer.Option(min=0)]

_COLUMNS = (
    "id",
    "settled_at",
    "project_id",
    "model_id",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_micros",
    "currency",
    "corrected",
)


def list_estimated(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List a tenant's requests with estimated usage after a crash, with their current counts."""
    found = operator_api().list(f"/v1/tenants/{segment(tenant)}/estimated-usage")
    if json:
        show_json(found)
    else:
        rows = ([each.get(column) for column in _COLUMNS] for each in found)
        show_table(_COLUMNS, rows, empty="Nothing was estimated.")


def correct_usage(
    tenant: TenantArgument,
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Request id.")],
    input_tokens: Tokens,
    output_tokens: Tokens,
    reason: Annotated[str, typer.Option(help="Source of the true usage; it stays on record.")],
    cached_input_tokens: Tokens = 0,
    json: JsonOption = False,
) -> None:
    """Set the true usage of a request with estimated usage; the difference is booked."""
    body = {
        "input_tokens": input_tokens,
        "cached_input_tokens": cached_input_tokens,
        "output_tokens": output_tokens,
        "reason": reason,
    }
    path = f"/v1/tenants/{segment(tenant)}/usage/{segment(request)}/corrections"
    corrected = operator_api().post(path, body)
    if json:
        show_json(corrected)
    else:
        show_fields(corrected)
