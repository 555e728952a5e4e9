"""A plan, applied, leaves nothing to plan; it never touches what no file declares."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finpool.declared.declaration import DeclaredTenant, LimitSubject
from finpool.declared.plan import Action, Resource, Undeclared, plan, undeclared
from finpool.declared.reconcile import apply_changes
from finpool.quota.schemas import Limits, Scope

IDS = ("a", "b", "c", "d")
RATES = (None, 0, 1, 2, 3)
THRESHOLDS = [list(few) for count in range(3) for few in product((1, 2, 3), repeat=count)]
PROJECTS = [
    {project_id: name for project_id, name in zip(IDS, names, strict=True) if name is not None}
    for names in product((None, "P", "Q"), repeat=len(IDS))
]
# One draw out of all that there are: to draw each field of each example takes a hundred times as long as to plan.
limits = st.sampled_from(
    [
        Limits(
            budget_day_micros=day,
            budget_month_micros=month,
            soft_thresholds_percent=thresholds,
            requests_per_minute=requests,
        )
        for day, month, thresholds, requests in product(RATES, RATES, THRESHOLDS, RATES)
    ]
)
subjects = st.sampled_from([LimitSubject(scope, scope_id) for scope, scope_id in product(Scope, IDS)])
tenants = st.builds(
    DeclaredTenant,
    id=st.sampled_from(IDS),
    name=st.sampled_from(["One", "Two"]),
    models=st.sampled_from([("m1",), ("m2",), ("m1", "m2")]),
    projects=st.sampled_from([few for few in PROJECTS if len(few) <= 3]),
    limits=st.dictionaries(subjects, limits, max_size=3),
)
sectors = st.lists(tenants, unique_by=lambda tenant: tenant.id)


class MemoryPlatform:
    """Keeps tenants as a platform does: creating twice or changing what is not there fails."""

    def __init__(self, existing: list[DeclaredTenant]) -> None:
        self.held = {tenant.id: tenant for tenant in existing}

    def tenants(self) -> list[DeclaredTenant]:
        return list(self.held.values())

    def create_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        assert tenant_id not in self.held
        self.held[tenant_id] = DeclaredTenant(tenant_id, values["name"], tuple(values["models"]), {}, {})

    def change_tenant(self, tenant_id: str, values: Mapping[str, Any]) -> None:
        changed: dict[str, Any] = {
            field: tuple(value) if field == "models" else value for field, value in values.items()
        }
        self.held[tenant_id] = replace(self.held[tenant_id], **changed)

    def create_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        assert project_id not in self.held[tenant_id].projects
        self._project(tenant_id, project_id, values)

    def change_project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        assert project_id in self.held[tenant_id].projects
        self._project(tenant_id, project_id, values)

    def set_limits(self, tenant_id: str, subject: LimitSubject, limits: Limits) -> None:
        held = self.held[tenant_id]
        self.held[tenant_id] = replace(held, limits={**held.limits, subject: limits})

    def _project(self, tenant_id: str, project_id: str, values: Mapping[str, Any]) -> None:
        tenant = self.held[tenant_id]
        self.held[tenant_id] = replace(tenant, projects={**tenant.projects, project_id: values["name"]})


@given(sectors, sectors)
def test_applying_a_plan_leaves_an_empty_plan(desired: list[DeclaredTenant], actual: list[DeclaredTenant]) -> None:
    platform = MemoryPlatform(actual)
    apply_changes(platform, plan(desired, actual), desired, lambda _: None)
    assert plan(desired, platform.tenants()) == []


@given(sectors, sectors, st.integers(0, 40))
def test_a_plan_that_stopped_half_way_is_finished_by_the_next(
    desired: list[DeclaredTenant], actual: list[DeclaredTenant], steps: int
) -> None:
    platform = MemoryPlatform(actual)
    apply_changes(platform, plan(desired, actual)[:steps], desired, lambda _: None)
    apply_changes(platform, plan(desired, platform.tenants()), desired, lambda _: None)
    assert plan(desired, platform.tenants()) == []


@given(sectors, sectors)
def test_applying_leaves_alone_what_no_file_declares(
    desired: list[DeclaredTenant], actual: list[DeclaredTenant]
) -> None:
    platform = MemoryPlatform(actual)
    extra = undeclared(desired, actual)
    apply_changes(platform, plan(desired, actual), desired, lambda _: None)
    assert undeclared(desired, platform.tenants()) == extra
    for tenant in actual:
        if tenant.id not in {each.id for each in desired}:
            assert platform.held[tenant.id] == tenant


@given(sectors)
def test_what_is_as_declared_needs_no_change(sector: list[DeclaredTenant]) -> None:
    assert plan(sector, sector) == []
    assert undeclared(sector, sector) == []


def test_a_change_names_each_field_before_and_after() -> None:
    whole, part = LimitSubject(Scope.TENANT, "a"), LimitSubject(Scope.PROJECT, "p")
    before = DeclaredTenant("a", "One", ("m1",), {"p": "P"}, {whole: Limits(budget_month_micros=1)})
    after = DeclaredTenant(
        "a",
        "Two",
        ("m1",),
        {"p": "P"},
        {whole: Limits(budget_month_micros=1, concurrency=2), part: Limits(budget_day_micros=3)},
    )
    tenant, limits, scoped = plan([after], [before])
    assert (tenant.action, tenant.resource) == (Action.CHANGE, Resource.TENANT)
    assert [(each.field, each.before, each.after) for each in tenant.fields] == [("name", "One", "Two")]
    assert limits.subject == whole
    assert [(each.field, each.before, each.after) for each in limits.fields] == [("concurrency", None, 2)]
    assert (scoped.resource, scoped.subject) == (Resource.LIMITS, part)
    assert [(each.field, each.before, each.after) for each in scoped.fields] == [("budget_day_micros", None, 3)]


def test_limits_are_lifted_by_declaring_none_and_only_reported_when_not_declared() -> None:
    whole, part = LimitSubject(Scope.TENANT, "a"), LimitSubject(Scope.MODEL, "m1")
    limited = DeclaredTenant(
        "a", "One", ("m1",), {}, {whole: Limits(budget_month_micros=1), part: Limits(concurrency=0)}
    )
    silent = replace(limited, limits={whole: limited.limits[whole]})
    lifted = replace(limited, limits={whole: limited.limits[whole], part: Limits()})
    assert plan([silent], [limited]) == []
    assert undeclared([silent], [limited]) == [Undeclared(Resource.LIMITS, "a", Scope.MODEL, "m1")]
    (change,) = plan([lifted], [limited])
    assert [(each.field, each.before, each.after) for each in change.fields] == [("concurrency", 0, None)]
    # Lifted limits stay known to the platform, as limits that limit nothing: nobody has to declare those.
    assert undeclared([silent], [lifted]) == []
