"""`finpool tenant`, `finpool project` and `finpool key`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from finpool.cli.connection import operator_api
from finpool.cli.output import JsonOption, show_lines, show_list, show_one
from finpool.client.api import segment
from finpool.client.errors import CliError, ExitCode

tenant_app = typer.Typer(no_args_is_help=True, help="Institutions on the platform.")
project_app = typer.Typer(no_args_is_help=True, help="Units within a tenant.")
key_app = typer.Typer(no_args_is_help=True, help="Keys of a tenant's projects.")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]
ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="Project id.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Key id, not its secret.")]
NameOption = Annotated[str, typer.Option("--name", help="Display name.")]
NewNameOption = Annotated[str | None, typer.Option("--name", help="New name.")]
ModelsOption = Annotated[
    list[str] | None, typer.Option("--model", help="A model of its contract; repeat it for several, '*' for all.")
]

_TENANT_COLUMNS = ("id", "name", "status", "models")
_PROJECT_COLUMNS = ("id", "name", "status")
_KEY_COLUMNS = ("id", "project_id", "name", "role", "hint", "status")


class TenantStatusChoice(StrEnum):
    """The statuses that an operator may set."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class ProjectStatusChoice(StrEnum):
    """The statuses that an operator may set."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class KeyRole(StrEnum):
    """The role of a key within its tenant."""

    OWNER = "owner"
    DEVELOPER = "developer"
    FINANCE = "finance"
    AUDITOR = "auditor"


@tenant_app.command("list")
def list_tenants(json: JsonOption = False) -> None:
    """List all tenants."""
    show_list(operator_api().list("/v1/tenants"), _TENANT_COLUMNS, as_json=json, empty="No tenants.")


@tenant_app.command("show")
def show_tenant(tenant: TenantArgument, json: JsonOption = False) -> None:
    """Show one tenant."""
    show_one(operator_api().get(_path(tenant)), as_json=json)


@tenant_app.command("create")
def create_tenant(
    tenant: TenantArgument, name: NameOption, model: ModelsOption = None, json: JsonOption = False
) -> None:
    """Create a tenant; without --model it may use every shared model."""
    body: dict[str, Any] = {"id": tenant, "name": name}
    if model:
        body["models"] = model
    show_one(operator_api().post("/v1/tenants", body), as_json=json)


@tenant_app.command("change")
def change_tenant(
    tenant: TenantArgument,
    name: NewNameOption = None,
    status: Annotated[
        TenantStatusChoice | None, typer.Option("--status", help="A suspended tenant's keys are refused.")
    ] = None,
    model: ModelsOption = None,
    json: JsonOption = False,
) -> None:
    """Rename, suspend or reactivate a tenant, or replace the models of its contract."""
    body = _given({"name": name, "status": status, "models": model or None})
    show_one(operator_api().patch(_path(tenant), body), as_json=json)


@project_app.command("list")
def list_projects(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List a tenant's projects."""
    projects = operator_api().list(f"{_path(tenant)}/projects")
    show_list(projects, _PROJECT_COLUMNS, as_json=json, empty="No projects.")


@project_app.command("create")
def create_project(
    tenant: TenantArgument, project: ProjectArgument, name: NameOption, json: JsonOption = False
) -> None:
    """Create a project."""
    show_one(operator_api().post(f"{_path(tenant)}/projects", {"id": project, "name": name}), as_json=json)


@project_app.command("change")
def change_project(
    tenant: TenantArgument,
    project: ProjectArgument,
    name: NewNameOption = None,
    status: Annotated[
        ProjectStatusChoice | None, typer.Option("--status", help="An archived project's keys are refused.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rename, archive or reactivate a project."""
    body = _given({"name": name, "status": status})
    show_one(operator_api().patch(f"{_path(tenant)}/projects/{segment(project)}", body), as_json=json)


@key_app.command("list")
def list_keys(tenant: TenantArgument, json: JsonOption = False) -> None:
    """List a tenant's keys, revoked ones included, without their secrets."""
    show_list(operator_api().list(f"{_path(tenant)}/keys"), _KEY_COLUMNS, as_json=json, empty="No keys.")


@key_app.command("create")
def create_key(
    tenant: TenantArgument,
    project: ProjectArgument,
    name: NameOption,
    role: Annotated[KeyRole, typer.Option("--role", help="Role of the key.")] = KeyRole.DEVELOPER,
    json: JsonOption = False,
) -> None:
    """Create a key and show its secret, once."""
    body = {"project_id": project, "name": name, "role": role}
    key = operator_api().post(f"{_path(tenant)}/keys", body)
    show_one(key, as_json=json)
    if not json:
        show_lines(["The secret is shown this once: keep it in a safe place."])


@key_app.command("change")
def change_key(tenant: TenantArgument, key: KeyArgument, name: NewNameOption = None, json: JsonOption = False) -> None:
    """Rename a key; its role stays."""
    body = _given({"name": name})
    show_one(operator_api().patch(f"{_path(tenant)}/keys/{segment(key)}", body), as_json=json)


@key_app.command("revoke")
def revoke_key(tenant: TenantArgument, key: KeyArgument, json: JsonOption = False) -> None:
    """Revoke a key for good; requests with it are refused within two seconds."""
    show_one(operator_api().delete(f"{_path(tenant)}/keys/{segment(key)}"), as_json=json)


def _path(tenant_id: str) -> str:
    return f"/v1/tenants/{segment(tenant_id)}"


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    body = {field: value for field, value in fields.items() if value is not None}
    if not body:
        options = ", ".join(f"--{'model' if field == 'models' else field}" for field in fields)
        raise CliError(f"nothing to change: give one of {options}", code="usage", exit_code=ExitCode.USAGE)
    return body
