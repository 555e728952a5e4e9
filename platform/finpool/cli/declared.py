"""`finpool plan` and `finpool apply`: tenants as code."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_json, show_lines
from finpool.client.errors import ExitCode
from finpool.declared.declaration import load_declarations
from finpool.declared.plan import Change, Resource, Undeclared, plan, undeclared
from finpool.declared.reconcile import ApiPlatform, apply_changes
from finpool.quota.schemas import Scope

Directory = Annotated[Path, typer.Argument(metavar="[DIR]", help="Directory of tenants.")]


def show_plan(directory: Directory = Path("tenants"), json: JsonOption = False) -> None:
    """Show the differences between the platform and the declared tenants; exit code 4 if there are any."""
    desired = load_declarations(directory)
    actual = ApiPlatform(operator_api()).tenants()
    changes, extra = plan(desired, actual), undeclared(desired, actual)
    if json:
        show_json(
            {"changes": [_document(change) for change in changes], "undeclared": [asdict(each) for each in extra]}
        )
    else:
        show_lines(line for change in changes for line in describe(change))
        show_lines(_describe_undeclared(each) for each in extra)
        show_lines([f"{len(changes)} to make: run `finpool apply`." if changes else "No changes."])
    if changes:
        raise typer.Exit(ExitCode.DIFFERENCES)


def apply(directory: Directory = Path("tenants"), json: JsonOption = False) -> None:
    """Change the platform to match the declared tenants; a second run changes nothing."""
    desired = load_declarations(directory)
    platform = ApiPlatform(operator_api())
    actual = platform.tenants()
    changes, extra = plan(desired, actual), undeclared(desired, actual)
    made: list[Change] = []

    def done(change: Change) -> None:
        made.append(change)
        if not json:
            show_lines(describe(change))

    apply_changes(platform, changes, desired, done)
    if json:
        show_json({"changes": [_document(change) for change in made], "undeclared": [asdict(each) for each in extra]})
        return
    show_lines(_describe_undeclared(each) for each in extra)
    show_lines([f"{len(made)} changes made." if made else "No changes."])


def describe(change: Change) -> list[str]:
    """Return a change as text lines: its subject, then one line for each field."""
    lines = [f"{change.action} {change.resource} {_name(change)}"]
    for field in change.fields:
        before = "" if field.before is None and change.action == "create" else f"{_value(field.before)} -> "
        lines.append(f"    {field.field}: {before}{_value(field.after)}")
    return lines


def _describe_undeclared(each: Undeclared) -> str:
    return f"not declared, left alone: {each.resource} {_name(each)}"


def _name(about: Change | Undeclared) -> str:
    """Return `bank-a`, `bank-a/lending` for a project, or `bank-a, project lending` for its limits."""
    if about.scope is Scope.TENANT:
        return about.tenant_id
    if about.resource is Resource.PROJECT:
        return f"{about.tenant_id}/{about.scope_id}"
    return f"{about.tenant_id}, {about.scope} {about.scope_id}"


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _document(change: Change) -> dict[str, Any]:
    return asdict(change)
