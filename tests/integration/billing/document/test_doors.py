"""Bills as files and the reconciliation, through the doors; nobody gets what is another's."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pypdf import PdfReader

from finpool.apps import operator, tenant
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ProjectId, TenantId
from finpool.kernel.settings import Settings


@dataclass
class Gatekeeper:
    """Knows a caller by the tenant in the credential; the table of routes and roles is tested apart."""

    async def authenticate(self, credential: str) -> Actor:
        if credential == "operator":
            return Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
        return Actor(Audience.TENANT, "key_1", Role.TENANT_FINANCE, TenantId(credential), ProjectId("credit"))

    def authorize(self, actor: Actor, permission: str) -> None:
        """Let everybody in."""


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Callable[[str], httpx2.AsyncClient]]:
    """Call as somebody: `door("operator")`, `door("bank-a")`."""
    async with AsyncExitStack() as stack:

        async def opened(app: FastAPI) -> httpx2.ASGITransport:
            await stack.enter_async_context(app.router.lifespan_context(app))
            app.state.gatekeeper = Gatekeeper()
            return httpx2.ASGITransport(app=app)

        operators = await opened(operator.create_app(settings))
        tenants = await opened(tenant.create_app(settings, Gatekeeper()))

        def call_as(name: str) -> httpx2.AsyncClient:
            transport = operators if name == "operator" else tenants
            headers = {"authorization": f"Bearer {name}"}
            return httpx2.AsyncClient(transport=transport, base_url="http://finpool.test", headers=headers)

        yield call_as


async def test_a_bank_gets_its_invoice_as_pdf_and_csv_and_its_months_in_focus(world: Any, door: Any) -> None:
    first, *_ = await world.bill_everything()
    async with door("bank-a") as bank:
        pdf = await bank.get(f"/v1/organization/invoices/{first.id}/file")
        text = await bank.get(f"/v1/organization/invoices/{first.id}/file", params={"format": "csv"})
        month = f"{first.period_start:%Y-%m}"
        focus = await bank.get("/v1/organization/focus", params={"from": month, "to": month})
    assert (pdf.headers["content-type"], len(PdfReader(io.BytesIO(pdf.content)).pages)) == ("application/pdf", 1)
    assert pdf.headers["content-disposition"] == f'attachment; filename="{first.number}.pdf"'
    assert text.text.count(f"invoice,{first.number},CNY") == len(first.lines)
    assert f"{first.number}" in focus.text
    assert "CN-" in focus.text, "the credit note belongs to the period of its invoice"
    assert "INV" not in focus.text.replace(str(first.number), "")


async def test_nobody_gets_the_file_of_another_banks_invoice_nor_of_a_draft(world: Any, door: Any) -> None:
    first, *_ = await world.bill_everything()
    await world.add_bank(TenantId("bank-b"), "Second Bank")
    await world.serve([(1_000, 0, 100)], first.period_start, tenant_id=TenantId("bank-b"))
    async with door("bank-b") as other, door("operator") as operators:
        stolen = await other.get(f"/v1/organization/invoices/{first.id}/file")
        everything = {"from": "2000-01", "to": "2099-12"}
        focus = await other.get("/v1/organization/focus", params=everything)
        as_another = await operators.get(f"/v1/tenants/bank-b/invoices/{first.id}/file")
        drafted = await operators.post("/v1/tenants/bank-b/invoices", json={"month": f"{first.period_start:%Y-%m}"})
        own_draft = await other.get(f"/v1/organization/invoices/{drafted.json()['id']}/file")
        for_operators = await operators.get(f"/v1/tenants/bank-b/invoices/{drafted.json()['id']}/file?format=csv")
    assert [stolen.status_code, as_another.status_code, own_draft.status_code] == [404, 404, 404]
    assert focus.text.count("\n") == 1, "a header and nothing else"
    assert (drafted.status_code, for_operators.status_code) == (201, 200)


async def test_operators_reconcile_over_their_api(world: Any, door: Any) -> None:
    await world.bill_everything()
    async with door("operator") as operators:
        agreed = await operators.get("/v1/reconciliation", params={"from": "2020-01-01"})
        async with world.tamper() as owner:
            await owner.execute("UPDATE account SET posted_picos = posted_picos + 1")
        differs = await operators.get("/v1/reconciliation", params={"tenant_id": "bank-a"})
        backwards = await operators.get("/v1/reconciliation", params={"from": "2026-02-01", "to": "2026-01-01"})
    body = agreed.json()
    assert (agreed.status_code, body["differences"], body["engines"]) == (200, [], "log")
    assert [(each["tenant_id"], each["documents"]) for each in body["tenants"]] == [("bank-a", 3)]
    assert {each["subject"] for each in differs.json()["differences"]} == {"posted", "revenue", "unbilled"}
    assert backwards.status_code == 400


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        ("2026-12", "2026-10", "to: must not be earlier than `from`"),
        ("0000-01", "2026-10", "from: "),
        ("2026-10", "9999-12", "to: "),
        ("2026-13", "2026-10", "from: "),
    ],
)
async def test_months_that_make_no_range_are_refused(door: Any, first: str, last: str, problem: str) -> None:
    async with door("bank-a") as bank, door("operator") as operators:
        for client, path in ((bank, "/v1/organization/focus"), (operators, "/v1/tenants/bank-a/focus")):
            refused = await client.get(path, params={"from": first, "to": last})
            error = refused.json()["error"]
            assert (refused.status_code, error["param"]) == (400, problem.partition(":")[0])
            assert problem in error["message"]
