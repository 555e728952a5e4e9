"""A bank's own projects, with the official client."""

from typing import Any

import openai
import pytest
from usage_doors import Doors

from finpool.kernel.clock import now

TENANT = "/v1/tenants/bank-a/projects"


@pytest.fixture
async def archived(doors: Doors) -> dict[str, Any]:
    """Bank A has an archived project beside its two active ones."""
    await doors.operator.post(TENANT, json={"id": "leasing", "name": "Leasing"})
    answer = await doors.operator.patch(f"{TENANT}/leasing", json={"status": "archived"})
    project: dict[str, Any] = answer.json()
    return project


async def ids(pages: Any) -> list[str]:
    return [each.id async for each in pages]


async def test_a_bank_lists_its_own_projects_and_archived_ones_when_it_asks(
    doors: Doors, archived: dict[str, Any]
) -> None:
    projects = doors.official("bank-a/developer").admin.organization.projects
    assert await ids(projects.list()) == ["credit", "treasury"]
    assert await ids(projects.list(include_archived=True)) == ["credit", "leasing", "treasury"]
    assert await ids(doors.official("bank-b/owner").admin.organization.projects.list(include_archived=True)) == [
        "credit",
        "treasury",
    ]


async def test_the_clients_pages_of_projects_lose_nothing(doors: Doors, archived: dict[str, Any]) -> None:
    projects = doors.official("bank-a/finance").admin.organization.projects
    page = await projects.list(limit=1, include_archived=True)
    assert ([each.id for each in page.data], page.has_more) == (["credit"], True)
    assert await ids(projects.list(limit=1, include_archived=True)) == ["credit", "leasing", "treasury"]
    assert await ids(projects.list(after="credit")) == ["treasury"]
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError) as refused:
            await projects.list(limit=limit)
        assert refused.value.param == "limit"


async def test_a_project_says_when_it_was_archived_until_it_is_active_again(
    doors: Doors, archived: dict[str, Any]
) -> None:
    projects = doors.official("bank-a/owner").admin.organization.projects
    project = await projects.retrieve("leasing")
    assert (project.object, project.id, project.name, project.status) == (
        "organization.project",
        "leasing",
        "Leasing",
        "archived",
    )
    assert project.created_at <= project.archived_at <= int(now().timestamp())
    assert archived["archived_at"] == project.archived_at
    await doors.operator.patch(f"{TENANT}/leasing", json={"name": "Leases"})
    assert (await projects.retrieve("leasing")).archived_at == project.archived_at
    await doors.operator.patch(f"{TENANT}/leasing", json={"status": "active"})
    again = await projects.retrieve("leasing")
    assert (again.name, again.status, again.archived_at) == ("Leases", "active", None)


async def test_another_banks_project_is_not_found_and_an_unknown_one_neither(doors: Doors) -> None:
    await doors.operator.post("/v1/tenants/bank-b/projects", json={"id": "secret", "name": "Secret"})
    projects = doors.official("bank-a/owner").admin.organization.projects
    for project_id in ("secret", "nothing"):
        with pytest.raises(openai.NotFoundError) as refused:
            await projects.retrieve(project_id)
        assert refused.value.code == "project_not_found"
