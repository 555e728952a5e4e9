"""`finpool lease`: what replicas hold of budgets, and the decision about those whose spool is lost."""

from typing import Annotated

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_json, show_lines, show_table

lease_app = typer.Typer(no_args_is_help=True, help="What replicas hold of budgets.")

ReplicaOption = Annotated[str, typer.Option("--replica", help="The replica that the spool belonged to.")]
SpoolOption = Annotated[str, typer.Option("--spool", help="The lost spool's id, as `finpool lease list` shows it.")]
ReasonOption = Annotated[str, typer.Option(help="How it is known to be lost; it stays on record.")]

_COLUMNS = ("tenant_id", "budget_id", "replica_id", "spool_id", "granted_micros", "held_micros", "opened_at")


@lease_app.command("list")
def list_leases(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, json: JsonOption = False
) -> None:
    """List the leases that are open, the oldest first."""
    found = operator_api().get("/v1/leases", {} if tenant is None else {"tenant_id": tenant})["data"]
    if json:
        show_json(found)
    else:
        show_table(_COLUMNS, ([each[column] for column in _COLUMNS] for each in found), empty="No lease is open.")


@lease_app.command("charge")
def charge(replica: ReplicaOption, spool: SpoolOption, reason: ReasonOption, json: JsonOption = False) -> None:
    """Charge what a lost spool's leases held, in full; tenants may dispute it."""
    _decide("charged", replica, spool, reason, json=json)


@lease_app.command("release")
def release(replica: ReplicaOption, spool: SpoolOption, reason: ReasonOption, json: JsonOption = False) -> None:
    """Give what a lost spool's leases held back to the budgets; what was spent of it is not charged."""
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
