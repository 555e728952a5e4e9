"""The difference between what is declared and what the platform has: pure, so that it can be shown before it acts."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from finpool.apps.declared.declaration import Limits, Tenant

NO_LIMITS = Limits(budget_micros=0)
"""What a tenant has before anyone sets its limits: no budget, so nothing is served."""


class Action(StrEnum):
    """What a change does. Nothing is ever deleted: usage and evidence hang on tenants and projects."""

    CREATE = "create"
    CHANGE = "change"


class Resource(StrEnum):
    """What a change is about."""

    TENANT = "tenant"
    PROJECT = "project"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field, before and after; `before` is None for something new."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One step. `project_id` is set for projects only."""

    action: Action
    resource: Resource
    tenant_id: str
    project_id: str | None
    fields: tuple[FieldChange, ...]

    @property
    def values(self) -> dict[str, Any]:
        """The fields to write."""
        return {change.field: change.after for change in self.fields}


@dataclass(frozen=True, slots=True)
class Undeclared:
    """Something on the platform that no file declares; it is reported and left alone."""

    resource: Resource
    tenant_id: str
    project_id: str | None


def plan(desired: Iterable[Tenant], actual: Iterable[Tenant]) -> list[Change]:
    """Return the steps from `actual` to `desired`, in an order that can be carried out; none when they agree."""
    existing = {tenant.id: tenant for tenant in actual}
    changes: list[Change] = []
    for tenant in sorted(desired, key=lambda each: each.id):
        changes += _tenant_changes(tenant, existing.get(tenant.id))
    return changes


def undeclared(desired: Iterable[Tenant], actual: Iterable[Tenant]) -> list[Undeclared]:
    """Return what the platform has and no file declares."""
    declared = {tenant.id: tenant for tenant in desired}
    found: list[Undeclared] = []
    for tenant in sorted(actual, key=lambda each: each.id):
        if tenant.id not in declared:
            found.append(Undeclared(Resource.TENANT, tenant.id, None))
            continue
        extra = sorted(tenant.projects.keys() - declared[tenant.id].projects.keys())
        found += [Undeclared(Resource.PROJECT, tenant.id, project_id) for project_id in extra]
    return found


def _tenant_changes(tenant: Tenant, existing: Tenant | None) -> list[Change]:
    changes = [
        _change(
            Resource.TENANT,
            tenant.id,
            None,
            None if existing is None else {"name": existing.name, "models": list(existing.models)},
            {"name": tenant.name, "models": list(tenant.models)},
        )
    ]
    for project_id, name in tenant.projects.items():
        before = None if existing is None or project_id not in existing.projects else existing.projects[project_id]
        changes.append(
            _change(
                Resource.PROJECT, tenant.id, project_id, None if before is None else {"name": before}, {"name": name}
            )
        )
    # A new tenant has limits that grant nothing, so setting them is a change and never a creation.
    limits = asdict(NO_LIMITS if existing is None else existing.limits)
    changes.append(_change(Resource.LIMITS, tenant.id, None, limits, asdict(tenant.limits)))
    return [change for change in changes if change.fields or change.action == Action.CREATE]


def _change(
    resource: Resource, tenant_id: str, project_id: str | None, before: dict[str, Any] | None, after: dict[str, Any]
) -> Change:
    changed = tuple(
        FieldChange(field, None if before is None else before[field], value)
        for field, value in after.items()
        if before is None or before[field] != value
    )
    return Change(Action.CREATE if before is None else Action.CHANGE, resource, tenant_id, project_id, changed)
