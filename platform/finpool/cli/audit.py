"""`finpool audit`: list the audit log, and verify it without trust in the operator."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer

from finpool.cli.connection import operator_api, regulator_api
from finpool.cli.output import JsonOption, show_json, show_lines, show_table
from finpool.client.errors import CliError, ExitCode
from finpool.client.log_check import PAGE_ENTRIES, check_log, parse_head

audit_app = typer.Typer(no_args_is_help=True, help="The append-only audit log.")


@audit_app.command("list")
def list_entries(
    after: Annotated[int | None, typer.Option(help="Number of the entry to begin after.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_ENTRIES, help="How many entries at most.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Only entries about this tenant.")] = None,
    json: JsonOption = False,
) -> None:
    """List audit entries, the oldest first."""
    page = regulator_api().get("/v1/entries", {"after": after, "limit": limit, "tenant_id": tenant})
    if json:
        show_json(page)
    else:
        show_table(("seq", "occurred_at", "kind", "tenant", "by"), map(_row, page["data"]), empty="No entries.")


@audit_app.command("verify")
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="A head kept from earlier: that entry must still have that hash."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read the whole log and check every hash and link on this machine; exit code 5 on any fault.

    A log that events do not reach any more is a fault, too.
    """
    kept = None if head is None else parse_head(head)
    checked = check_log(regulator_api(), kept)
    if json:
        show_json({**asdict(checked), "freshness": checked.freshness.model_dump()})
    faults = []
    if checked.first_bad_seq is not None:
        faults.append(f"the log is not intact: entry {checked.first_bad_seq} does not follow from the one before")
    if kept is not None and not checked.kept_head_holds:
        faults.append(f"entry {kept.seq} does not have the kept hash: the log up to it has changed")
    faults += checked.freshness.faults
    if faults:
        raise CliError("\n".join(faults), code="verification_failed", exit_code=ExitCode.VERIFICATION_FAILED)
    if not json:
        show_lines([f"{checked.entries} entries verified; the head is {checked.head or '-'}"])
        show_lines([] if kept is None else [f"entry {kept.seq} is the one that you kept"])


@audit_app.command("quarantine")
def quarantine(
    reviewed: Annotated[bool, typer.Option("--reviewed", help="Reviewed events, too.")] = False,
    json: JsonOption = False,
) -> None:
    """List the first hundred events that the log could not take, each with the reason."""
    page = regulator_api().get("/v1/quarantine", {"reviewed": str(reviewed).lower(), "limit": 100})
    if json:
        show_json(page)
    else:
        columns = ("outbox_id", "tenant_id", "set_aside_at", "reviewed_by", "reason")
        rows = ([each[name] for name in columns] for each in page["data"])
        show_table(columns, rows, empty="No event is in quarantine.")


@audit_app.command("review")
def review(
    outbox_id: Annotated[int, typer.Argument(help="The event's number in `finpool audit quarantine`.")],
    finding: Annotated[str, typer.Option(help="Words about the cause; they stay on record.")],
    json: JsonOption = False,
) -> None:
    """Record a finding about an event in quarantine; it then counts as no fault any more."""
    operator_api().post(f"/v1/audit-log/quarantine/{outbox_id}/review", {"finding": finding})
    if json:
        show_json({"reviewed": outbox_id})
    else:
        show_lines([f"Event {outbox_id} is reviewed."])


def _row(item: dict[str, Any]) -> list[object]:
    content = orjson.loads(item["entry"])
    actor = content["body"].get("actor") or {}
    return [item["seq"], content["occurred_at"], content["kind"], item["tenant_id"], actor.get("credential_id")]
