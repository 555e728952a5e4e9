"""A bank's own audit trail, with the official client."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from usage_doors import Doors

from finpool.audit import service as audit
from finpool.audit.sequencer import Sequencer
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ProjectId, TenantId

BANK = TenantId("bank-a")
QUOTED = 'a"b\\c/d'
"""An id whose JSON has escapes."""

USED = {
    "model_id": "tiny",
    "input_tokens": 3,
    "cached_input_tokens": 0,
    "output_tokens": 2,
    "cost_picos": "5",
    "outcome": "completed",
    "settled_at": "2026-01-01T00:00:00+00:00",
}
"""The fields without which the log takes no usage."""


@pytest.fixture
async def five_events_each(banks: None, database: Callable[[str], Database]) -> None:
    async with database("operator").across_tenants() as session:
        for number in range(5):
            for bank in ("bank-a", "bank-b"):
                tenant_id = TenantId(bank)
                body = {"number": number}
                await audit.append(session, kind="test.happened", tenant_id=tenant_id, actor=None, body=body)
    await Sequencer(database("worker")).run_once()


async def test_a_tenant_pages_through_its_own_trail_only(doors: Doors, five_events_each: None) -> None:
    logs = doors.official("bank-a/owner").admin.organization.audit_logs
    own = [entry async for entry in logs.list(limit=2) if entry.kind == "test.happened"]
    assert [entry.details["number"] for entry in own] == [4, 3, 2, 1, 0]
    of_b = [entry.id async for entry in doors.official("bank-b/owner").admin.organization.audit_logs.list()]
    assert not {entry.id for entry in own} & set(of_b)


async def test_another_tenants_entry_is_no_place_to_page_from(doors: Doors, five_events_each: None) -> None:
    of_b = await doors.official("bank-b/owner").admin.organization.audit_logs.list()
    page = await doors.official("bank-a/owner").admin.organization.audit_logs.list(after=of_b.data[0].id)
    assert page.data == []


async def test_a_developer_may_not_read_the_trail(doors: Doors, five_events_each: None) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        await doors.official("bank-a/developer").admin.organization.audit_logs.list()


async def test_the_trail_is_filtered_by_what_the_client_asks_for(
    doors: Doors, banks: None, database: Callable[[str], Database]
) -> None:
    owner = Actor(Audience.TENANT, "key_1", Role.TENANT_OWNER, BANK, ProjectId("credit"))
    staff = Actor(Audience.OPERATOR, "token_1", Role.OPERATOR_ADMIN)
    events = [
        ("project.created", staff, {"number": 0, "project_id": "credit"}),
        ("key.revoked", owner, {"number": 1, "key_id": "key_2", "project_id": "treasury"}),
        ("limits.changed", staff, {"number": 2, "scope": "project", "scope_id": "credit"}),
        (
            "usage.recorded",
            None,
            {"number": 3, "request_id": "req_1", "key_id": "key_2", "client_id": QUOTED, "name": "credit", **USED},
        ),
    ]
    async with database("worker").across_tenants() as session:
        for kind, actor, body in events:
            await audit.append(session, kind=kind, tenant_id=BANK, actor=actor, body=body)
    await Sequencer(database("worker")).run_once()
    logs = doors.official("bank-a/owner").admin.organization.audit_logs

    async def numbers(**filters: Any) -> list[int]:
        page = await logs.list(**filters)
        return [entry.details["number"] for entry in page.data if "number" in entry.details]

    shown = (await logs.list()).data
    at = shown[0].effective_at
    assert await numbers() == [3, 2, 1, 0]
    assert await numbers(event_types=[shown[3].type]) == [0]
    assert await numbers(event_types=[shown[3].type, shown[2].type]) == [1, 0]
    assert await numbers(event_types=["login.failed"]) == []
    assert await numbers(project_ids=["credit"]) == [2, 0]
    assert await numbers(project_ids=["credit", "treasury"], actor_ids=["key_1"]) == [1]
    assert await numbers(actor_ids=["token_1"]) == [2, 0]
    assert await numbers(resource_ids=["key_2"]) == [3, 1]
    assert await numbers(resource_ids=["credit", "req_1"]) == [3, 2, 0]
    assert await numbers(resource_ids=["key_1", "token_1"]) == []
    assert await numbers(resource_ids=["eq_1", "req_", "request_id"]) == []
    assert await numbers(resource_ids=[QUOTED]) == [3]
    assert await numbers(resource_ids=["credit", QUOTED, "a", "b", "c", "d"]) == [3, 2, 0]
    assert await numbers(effective_at={"gt": at + 60}) == await numbers(effective_at={"lt": at - 60}) == []
    assert await numbers(effective_at={"gte": at - 60, "lte": at}) == [3, 2, 1, 0]
    assert at not in {entry.effective_at for entry in (await logs.list(effective_at={"gt": at})).data}
    assert at not in {entry.effective_at for entry in (await logs.list(effective_at={"lt": at})).data}


async def test_a_page_may_be_read_backwards_from_an_event(doors: Doors, five_events_each: None) -> None:
    logs = doors.official("bank-a/owner").admin.organization.audit_logs
    whole = [entry.id for entry in (await logs.list()).data]
    page = await logs.list(before=whole[4], limit=2)
    assert ([entry.id for entry in page.data], page.has_more) == (whole[2:4], True)
    page = await logs.list(before=page.data[0].id, limit=2)
    assert ([entry.id for entry in page.data], page.has_more) == (whole[:2], False)
    between = await logs.list(after=whole[0], before=whole[3])
    assert [entry.id for entry in between.data] == whole[1:3]


async def test_a_client_that_checks_answers_parses_every_kind_of_event(
    doors: Doors, banks: None, database: Callable[[str], Database]
) -> None:
    owner = Actor(Audience.TENANT, "key_1", Role.TENANT_OWNER, BANK, ProjectId("credit"))
    limited = {"scope": "project", "scope_id": "credit", "requests_per_minute": 5, "tokens_per_minute": None}
    events: dict[str, tuple[dict[str, Any], str, str | None]] = {
        "key.created": ({"key_id": "key_2", "role": "tenant.finance"}, "api_key.created", "key_2"),
        "key.changed": ({"key_id": "key_2", "name": "new"}, "api_key.updated", "key_2"),
        "key.revoked": ({"key_id": "key_2"}, "api_key.deleted", "key_2"),
        "project.created": ({"project_id": "loans", "name": "Loans"}, "project.created", "loans"),
        "project.changed": ({"project_id": "loans", "name": "Credit"}, "project.updated", "loans"),
        "limits.changed": (limited, "rate_limit.updated", "project/credit"),
        "invoice.issued": ({"invoice_id": "inv_1"}, "organization.updated", BANK),
        "usage.recorded": ({"request_id": "req_1", "project_id": "credit", **USED}, "organization.updated", BANK),
    }
    async with database("worker").across_tenants() as session:
        for kind, (body, _, _) in events.items():
            actor = None if kind == "usage.recorded" else owner
            await audit.append(session, kind=kind, tenant_id=BANK, actor=actor, body=body)
    await Sequencer(database("worker")).run_once()
    client = doors.official("bank-a/owner")
    newest_first = [entry async for entry in client.admin.organization.audit_logs.list()]
    shown = {entry.kind: entry for entry in reversed(newest_first)}
    for kind, (body, name, subject_id) in events.items():
        entry = shown[kind]
        subject = getattr(entry, name.replace(".", "_"))
        assert (entry.type, subject.id) == (name, subject_id)
        assert {**entry.details, **body} == entry.details
        if kind != "usage.recorded":
            assert (entry.actor.type, entry.actor.api_key.id) == ("api_key", "key_1")
    assert shown["usage.recorded"].actor is None
    assert shown["usage.recorded"].project.id == "credit"
    assert shown["limits.changed"].rate_limit_updated.changes_requested.max_requests_per_1_minute == 5
    logs = client.admin.organization.audit_logs
    assert {entry.kind for entry in (await logs.list(event_types=["organization.updated"])).data} >= {
        "invoice.issued",
        "usage.recorded",
    }
    assert {entry.kind for entry in (await logs.list(event_types=["api_key.deleted"])).data} == {"key.revoked"}
    assert {entry.kind for entry in (await logs.list(event_types=["usage.recorded"])).data} == {"usage.recorded"}
