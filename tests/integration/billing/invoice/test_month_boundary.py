"""A request that runs from one month into the next counts in the month of its admission, in every book."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from billing_world import BANK, LAST_MONTH, MODELS, THIS_MONTH
from sqlalchemy import text

from finpool.billing.document import service as render_service
from finpool.billing.document.schemas import FocusQuery
from finpool.billing.months import month_of
from finpool.metering.usage import service as usage
from finpool.quota.grant import grants
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import Limits, Period, operator_limit

ADMITTED, SETTLED = THIS_MONTH - timedelta(seconds=5), THIS_MONTH + timedelta(seconds=20)
TOKENS = (1_000_000, 0, 500_000)
COST_PICOS = 2_000_000 * 1_000_000 + 8_000_000 * 500_000


@pytest.fixture
async def over_the_boundary(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request admitted at 23:59:55 on the last of the month, and settled in the next one."""
    world.period = Period.MONTH
    limits = Limits(budget_month_micros=10**12)
    async with world.open_as("operator").across_tenants() as session:
        await write_limits(session, BANK, operator_limit(BANK), limits)
    moment = text("SELECT CAST(:moment AS timestamptz)").bindparams(moment=ADMITTED)
    with monkeypatch.context() as before_midnight:
        before_midnight.setattr(grants, "DATABASE_TIME", moment)
        await world.serve([TOKENS], SETTLED, admitted_at=ADMITTED)


async def used_picos(world: Any, start: Any, end: Any) -> int:
    async with world.open_as("operator").across_tenants() as session:
        groups = await usage.usage(session, start=start, end=end, group_by=[], tenant_id=BANK)
    return sum(each.cost_picos for each in groups)


async def test_budget_usage_invoice_and_focus_name_the_month_of_admission(world: Any, over_the_boundary: None) -> None:
    async with world.open_as("operator").across_tenants() as session:
        spent = text("SELECT period_start, posted_picos FROM budget WHERE period = 'month' AND posted_picos > 0")
        budgets = [(month_of(start), int(posted)) for start, posted in await session.execute(spent)]
    assert budgets == [(LAST_MONTH, COST_PICOS)]
    assert await used_picos(world, LAST_MONTH, THIS_MONTH) == COST_PICOS
    assert await used_picos(world, THIS_MONTH, THIS_MONTH + timedelta(days=31)) == 0
    invoice = await world.invoice(LAST_MONTH)
    assert sum(line.amount_picos for line in invoice.lines) == COST_PICOS
    assert {(line.charge_start, line.correction) for line in invoice.lines} == {(LAST_MONTH, False)}
    months = {"from": f"{LAST_MONTH:%Y-%m}", "to": f"{LAST_MONTH:%Y-%m}"}
    async with world.open_as("operator").across_tenants() as session:
        query = FocusQuery.model_validate(months)
        rendering = await render_service.focus(session, BANK, query, MODELS)
    exported = (await render_service.rendered_file(rendering)).content
    rows = [row for row in csv.DictReader(io.StringIO(exported.decode())) if row["ChargeCategory"] == "Usage"]
    assert sum(Decimal(row["ContractedCost"]) for row in rows) == Decimal(COST_PICOS).scaleb(-12)
    assert {row["ChargePeriodStart"] for row in rows} == {f"{LAST_MONTH:%Y-%m-%dT%H:%M:%SZ}"}


async def test_the_books_agree_over_the_boundary(world: Any, over_the_boundary: None) -> None:
    await world.invoice(LAST_MONTH)
    await world.sequence()
    found = await world.reconcile()
    assert found.differences == ()
    assert [(each.requests, each.used_picos, each.logged_picos) for each in found.tenants] == [
        (1, COST_PICOS, COST_PICOS)
    ]


async def test_a_record_from_before_this_rule_counts_when_it_was_settled(world: Any, over_the_boundary: None) -> None:
    async with world.tamper() as owner:
        await owner.execute("UPDATE usage_record SET counted_at = NULL")
    assert await used_picos(world, LAST_MONTH, THIS_MONTH) == 0
    assert await used_picos(world, THIS_MONTH, THIS_MONTH + timedelta(days=31)) == COST_PICOS
