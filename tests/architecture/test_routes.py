"""The committed table of routes and roles: a route or its roles change only in the open.

Write it anew with `python tests/architecture/test_routes.py`, and let someone read the difference.
"""

import asyncio
import csv
import io
import re
from pathlib import Path

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from finpool.apps.openapi import doors
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.door.web import DoorRoute
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import ProjectId, TenantId
from finpool.policy.service import Policy
from finpool.tenancy.models import TenantStatus
from finpool.tenancy.schemas import HeldTenant
from finpool.tenancy.service import TenantDirectory

TABLE = Path(__file__).with_name("route_roles.csv")
REGENERATE = "python tests/architecture/test_routes.py"
HEADER = ("door", "method", "path", "permission", "roles")
AUDIENCE = {
    "inference": Audience.TENANT,
    "tenant": Audience.TENANT,
    "operator": Audience.OPERATOR,
    "regulator": Audience.REGULATOR,
}
PUBLIC = {"/healthz", "/readyz", "/openapi.json"}
BANK = TenantId("bank-a")
BODY = re.compile(r"(New\w+|\w+(Change|Body|Request))$|Limits$")
QUERY = re.compile(r"\w+Query$")
ANSWER = re.compile(r"\w+(View|Summary|List|Page)$")


class OneTenant(TenantDirectory):
    """A directory of one tenant, so that the tenants' roles have a policy to be judged by."""

    def tenants(self) -> tuple[HeldTenant, ...]:
        """Return the tenant."""
        return (HeldTenant(BANK, "A", TenantStatus.ACTIVE, ("*",), 1),)


def collect() -> list[tuple[str, ...]]:
    """Return door, method, path, permission and roles of every route of every door."""
    policy = Policy((), OneTenant())
    asyncio.run(policy.load(None, None))  # type: ignore[arg-type]  # A policy reads no table.
    return sorted(
        row
        for door, app in doors().items()
        for route in app.routes
        for row in _rows(door, route, policy, AUDIENCE[door])
    )


def _rows(door: str, route: BaseRoute, policy: Policy, audience: Audience) -> list[tuple[str, ...]]:
    path = getattr(route, "path", repr(route))
    permissions = sorted(_permissions(route.dependant)) if isinstance(route, APIRoute) else []
    roles = [role.value for role in Role if role.audience == audience and _may(policy, role, permissions)]
    who = " ".join(roles) if permissions else "anyone" if path in PUBLIC else "UNGUARDED"
    methods = sorted((getattr(route, "methods", None) or {"ANY"}) - {"HEAD"})
    return [(door, method, path, " ".join(permissions), who) for method in methods]


def _permissions(dependant: Dependant) -> set[str]:
    own = getattr(dependant.call, "permission", None)
    return ({own} if own else set()).union(*(_permissions(each) for each in dependant.dependencies))


def _may(policy: Policy, role: Role, permissions: list[str]) -> bool:
    of_tenant = role.audience == Audience.TENANT
    actor = Actor(role.audience, "credential", role, BANK if of_tenant else None, ProjectId("p") if of_tenant else None)
    try:
        for permission in permissions:
            policy.authorize(actor, permission)
    except Forbidden:
        return False
    return True


def rendered(rows: list[tuple[str, ...]]) -> str:
    """Return the table as it is committed."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEADER, *rows])
    return out.getvalue()


def test_every_route_needs_a_permission_unless_it_is_public_on_purpose() -> None:
    assert [row for row in collect() if row[4] == "UNGUARDED"] == []


def test_every_permission_of_a_route_is_held_by_some_role() -> None:
    assert [row for row in collect() if row[4] == ""] == []


def test_every_route_that_reads_a_body_asks_first_who_sent_it() -> None:
    routes = [route for app in doors().values() for route in app.routes]
    reading = [route for route in routes if isinstance(route, APIRoute) and route.body_field is not None]
    assert [route.path for route in reading if not isinstance(route, DoorRoute)] == []
    assert reading


def test_routes_and_roles_are_those_of_the_committed_table() -> None:
    assert rendered(collect()) == TABLE.read_text(), f"routes or roles changed; if that is meant: {REGENERATE}"


def schema_names(annotation: object) -> list[str]:
    """Return a schema's name without what it is generic over; nothing for another type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation.__name__.split("[")[0]]
    return []


def test_schemas_of_routes_are_named_by_their_role_as_the_glossary_says() -> None:
    routes = [route for app in doors().values() for route in app.routes if isinstance(route, APIRoute)]
    roles = [
        *((BODY, field.field_info.annotation) for route in routes for field in route.dependant.body_params),
        *((QUERY, field.field_info.annotation) for route in routes for field in route.dependant.query_params),
        *((ANSWER, route.response_model) for route in routes),
    ]
    named = [(pattern, name) for pattern, annotation in roles for name in schema_names(annotation)]
    assert len(named) > 80
    assert [name for pattern, name in named if not pattern.match(name)] == []


if __name__ == "__main__":
    TABLE.write_text(rendered(collect()))
