"""`finpool lease`: the open leases of replicas, and the decision on leases of a lost spool."""

from typing import Annotated

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_json, show_lines, show_table

lease_app = typer.Typer(no_args_is_help=True, help="Leases of replicas on budgets.")

ReplicaOption = Annotated[str, typer.Option("--replica", help="The replica of the spool.")]
SpoolOption = Annotated[str, typer.Option("--spool", help="The lost spool's id in `finpool lease list`.")]
ReasonOption = Annotated[str, typer.Option(help="Proof of the loss; it stays on record.")]

_COLUMNS = ("tenant_id", "budget_id", "replica_id", "spool_id", "granted_micros", "held_micros", "opened_at")


@lease_app.command("list")
def list_leases(
    tenant: Annotated[str | None, typer.Option(help="Only leases of this tenant.")] = None, json: JsonOption = False
) -> None:
    """List the open leases, the oldest first."""
    found = operator_api().get("/v1/leases", {} if tenant is None else {"tenant_id": tenant})["data"]
    if json:
        show_json(found)
    else:
        show_table(_COLUMNS, ([each[column] for column in _COLUMNS] for each in found), empty="No lease is open.")


@lease_app.command("charge")
def charge(replica: ReplicaOption, spool: SpoolOption, reason: ReasonOption, json: JsonOption = False) -> None:
    """Charge the whole rest of a lost spool's leases; tenants may dispute it."""
    _decide("charged", replica, spool, reason, json=json)


@lease_app.command("release")
def release(replica: ReplicaOption, spool: SpoolOption, reason: ReasonOption, json: JsonOption = False) -> None:
    """Return the rest of a lost spool's leases to the budgets; spending from it is not charged."""
    _decide("released", replica, spool, reason, json=json)


def _decide(decision: str, replica: str, spool: str, reason: str, *, json: bool) -> None:
    body = {"replica_id": replica, "spool_id": spool, "decision": decision, "reason": reason}
    answer = operator_api().post("/v1/lost-spools", body)
    if json:
        show_json(answer)
        return
    lines = [f"{answer['leases_closed']} leases closed."]
    lines += [f"{each['tenant_id']}: {each['charged_micros']} micros charged" for each in answer["charged"]]
    show_lines(lines)
