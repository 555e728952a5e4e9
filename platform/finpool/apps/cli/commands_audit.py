"""`finpool audit`: what supervisors can list, and verify without trusting the operator."""

from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer

from finpool.apps.cli.connection import regulator_api
from finpool.apps.cli.output import JsonOption, show_json, show_lines, show_table
from finpool.apps.client.api import ApiClient
from finpool.apps.client.errors import CliError, ExitCode
from finpool.audit.schemas import Entry, verify_chain

audit_app = typer.Typer(no_args_is_help=True, help="The append-only audit log.")

PAGE_ENTRIES = 1000


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
def verify(json: JsonOption = False) -> None:
    """Read the whole log and check every hash and link here; exit code 5 if anything is wrong."""
    api = regulator_api()
    entries = list(_all_entries(api))
    bad = verify_chain(entries)
    head = entries[-1].hash if entries else None
    if json:
        show_json({"entries": len(entries), "head": head, "first_bad_seq": bad})
    elif bad is None:
        show_lines([f"{len(entries)} entries verified; the newest hash is {head or '-'}"])
    if bad is not None:
        raise CliError(
            f"the log is not intact: entry {bad} does not follow from the one before",
            code="verification_failed",
            exit_code=ExitCode.VERIFICATION_FAILED,
        )


def _all_entries(api: ApiClient) -> Iterator[Entry]:
    after: int | None = None
    while page := api.get("/v1/entries", {"after": after, "limit": PAGE_ENTRIES})["data"]:
        for item in page:
            yield Entry.model_validate(item)
        after = page[-1]["seq"]


def _row(item: dict[str, Any]) -> list[object]:
    content = orjson.loads(item["entry"])
    actor = content["body"].get("actor") or {}
    return [item["seq"], content["occurred_at"], content["kind"], item["tenant_id"], actor.get("credential_id")]
