"""Reconciliation of tenants: apply the plan over the operator API, for `finpool apply` and `finpool up`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from finpool.client.api import ApiClient, segment
from finpool.declared.declaration import DeclaredTenant, LimitSubject, load_declarations
from finpool.declared.plan import Action, Change, Resource, plan
from finpool.quota.schemas import Limits, Scope, SetBy


class Platform(Protocol):
    """The platform's operations that reconciling uses."""

    def tenants(self) -> list[DeclaredTenant]:
        """Return every tenant as it is now."""

    def create_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        """Create a tenant with its name and models."""

    def change_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        """Change the given fields."""

    def create_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        """Create a project with its name."""

    def change_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        """Change the given fields."""

    def set_limits(self, tenant_id: str, subject: LimitSubject, limits: Limits) -> None:
        """Replace the operator's limits on a tenant, or on a part of it."""


class ApiPlatform:
    """A platform behind its operator API."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    def tenants(self) -> list[DeclaredTenant]:
        """Return every tenant as it is now, archived projects and suspended tenants included."""
        return [
            DeclaredTenant(
                id=tenant["id"],
                name=tenant["name"],
                models=tuple(sorted(tenant["models"])),
                projects={each["id"]: each["name"] for each in self._api.list(f"{_path(tenant['id'])}/projects")},
                limits=self._operator_limits(tenant["id"]),
            )
            for tenant in self._api.list("/v1/tenants")
        ]

    def create_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        """Create a tenant."""
        self._api.post("/v1/tenants", {"id": tenant_id, **values})

    def change_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        """Change a tenant's name or models."""
        self._api.patch(_path(tenant_id), values)

    def create_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        """Create a project."""
        self._api.post(f"{_path(tenant_id)}/projects", {"id": project_id, **values})

    def change_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        """Change a project's name."""
        self._api.patch(f"{_path(tenant_id)}/projects/{segment(project_id)}", values)

    def set_limits(self, tenant_id: str, subject: LimitSubject, limits: Limits) -> None:
        """Replace the operator's limits on a tenant, or on a part of it."""
        path = f"{_path(tenant_id)}/limits/{subject.scope}/{segment(subject.scope_id)}"
        self._api.put(path, limits.model_dump())

    def _operator_limits(self, tenant_id: str) -> dict[LimitSubject, Limits]:
        """Return the operators' limits; limits of the tenant itself are left out."""
        return {
            LimitSubject(Scope(each["scope"]), each["scope_id"]): Limits.model_validate(each["limits"])
            for each in self._api.list(f"{_path(tenant_id)}/limits")
            if each["set_by"] == SetBy.OPERATOR
        }


def apply_changes(
    platform: Platform, changes: Iterable[Change], desired: Iterable[DeclaredTenant], done: Callable[[Change], None]
) -> None:
    """Apply the changes in order and call `done` after each; after an interruption the next plan holds the rest."""
    limits = {tenant.id: tenant.limits for tenant in desired}
    for change in changes:
        _apply(platform, change, limits[change.tenant_id])
        done(change)


def reconcile(platform: Platform, directory: Path, done: Callable[[Change], None]) -> list[Change]:
    """Load the declarations, apply the differences and return them."""
    desired = load_declarations(directory)
    changes = plan(desired, platform.tenants())
    apply_changes(platform, changes, desired, done)
    return changes


def _apply(platform: Platform, change: Change, limits: Mapping[LimitSubject, Limits]) -> None:
    match change.resource, change.action:
        case Resource.TENANT, Action.CREATE:
            platform.create_tenant(change.tenant_id, change.values)
        case Resource.TENANT, Action.CHANGE:
            platform.change_tenant(change.tenant_id, change.values)
        case Resource.PROJECT, Action.CREATE:
            platform.create_project(change.tenant_id, change.scope_id, change.values)
        case Resource.PROJECT, Action.CHANGE:
            platform.change_project(change.tenant_id, change.scope_id, change.values)
        case Resource.LIMITS, _:
            platform.set_limits(change.tenant_id, change.subject, limits[change.subject])


def _path(tenant_id: str) -> str:
    return f"/v1/tenants/{segment(tenant_id)}"
