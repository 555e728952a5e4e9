"""The plan: the pure difference between the declared tenants and the platform's, so that it can be shown first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from finpool.declared.declaration import DeclaredTenant, LimitSubject
from finpool.quota.schemas import Limits, Scope

NO_LIMITS = Limits()
"""The limits of a scope without any: no rate is limited, and no budget is given."""


class Action(StrEnum):
    """The action of a change. Nothing is ever deleted: usage and evidence refer to tenants and projects."""

    CREATE = "create"
    CHANGE = "change"


class Resource(StrEnum):
    """The kind of object that a change affects."""

    TENANT = "tenant"
    PROJECT = "project"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, before and after; `before` is None for a new object."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One step. `scope` and `scope_id` name the tenant itself, one of its projects, or the scope of limits."""

    action: Action
    resource: Resource
    tenant_id: str
    scope: Scope
    scope_id: str
    fields: tuple[FieldChange, ...]

    @property
    def subject(self) -> LimitSubject:
        """The scope of the changed object."""
        return LimitSubject(self.scope, self.scope_id)

    @property
    def values(self) -> dict[str, Any]:
        """The fields to write."""
        return {change.field: change.after for change in self.fields}


@dataclass(frozen=True, slots=True)
class Undeclared:
    """An object on the platform that no file declares; it is reported and left alone."""

    resource: Resource
    tenant_id: str
    scope: Scope
    scope_id: str


def plan(desired: Iterable[DeclaredTenant], actual: Iterable[DeclaredTenant]) -> list[Change]:
    """Return the steps from `actual` to `desired` in executable order; none if both agree."""
    existing = {tenant.id: tenant for tenant in actual}
    changes: list[Change] = []
    for tenant in sorted(desired, key=lambda each: each.id):
        changes += _tenant_changes(tenant, existing.get(tenant.id))
    return changes


def undeclared(desired: Iterable[DeclaredTenant], actual: Iterable[DeclaredTenant]) -> list[Undeclared]:
    """Return the objects of the platform that no file declares."""
    declared = {tenant.id: tenant for tenant in desired}
    found: list[Undeclared] = []
    for tenant in sorted(actual, key=lambda each: each.id):
        known = declared.get(tenant.id)
        if known is None:
            found.append(Undeclared(Resource.TENANT, tenant.id, Scope.TENANT, tenant.id))
            continue
        projects = sorted(tenant.projects.keys() - known.projects.keys())
        found += [Undeclared(Resource.PROJECT, tenant.id, Scope.PROJECT, project_id) for project_id in projects]
        limited = sorted(
            subject for subject, limits in tenant.limits.items() if subject not in known.limits and limits != NO_LIMITS
        )
        found += [Undeclared(Resource.LIMITS, tenant.id, *subject) for subject in limited]
    return found


def _tenant_changes(tenant: DeclaredTenant, existing: DeclaredTenant | None) -> list[Change]:
    changes = [
        _change(
            Resource.TENANT,
            tenant.id,
            LimitSubject(Scope.TENANT, tenant.id),
            None if existing is None else {"name": existing.name, "models": list(existing.models)},
            {"name": tenant.name, "models": list(tenant.models)},
        )
    ]
    for project_id, name in tenant.projects.items():
        before = None if existing is None or project_id not in existing.projects else existing.projects[project_id]
        changes.append(
            _change(
                Resource.PROJECT,
                tenant.id,
                LimitSubject(Scope.PROJECT, project_id),
                None if before is None else {"name": before},
                {"name": name},
            )
        )
    # A scope without limits counts as unlimited, so its first limits are a change and no creation.
    in_force: Mapping[LimitSubject, Limits] = {} if existing is None else existing.limits
    for subject, limits in tenant.limits.items():
        held = in_force.get(subject, NO_LIMITS)
        changes.append(_change(Resource.LIMITS, tenant.id, subject, held.model_dump(), limits.model_dump()))
    return [change for change in changes if change.fields or change.action == Action.CREATE]


def _change(
    resource: Resource, tenant_id: str, subject: LimitSubject, before: dict[str, Any] | None, after: dict[str, Any]
) -> Change:
    changed = tuple(
        FieldChange(field, None if before is None else before[field], value)
        for field, value in after.items()
        if before is None or before[field] != value
    )
    action = Action.CREATE if before is None else Action.CHANGE
    return Change(action, resource, tenant_id, subject.scope, subject.scope_id, changed)
