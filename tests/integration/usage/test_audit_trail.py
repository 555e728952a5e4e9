"""A bank's own audit trail, with the official client."""

from collections.abc import Callable

import openai
import pytest
from usage_doors import Doors

from finpool.audit import service as audit
from finpool.audit.sequencer import Sequencer
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId


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
    own = [entry async for entry in logs.list(limit=2) if entry.type == "test.happened"]
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
