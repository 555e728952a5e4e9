"""Bills and disputes as operators and banks reach them: over HTTP, with the real doors, and on the command line."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from finpool.apps import operator, tenant
from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.catalogue.model.service import default_directory
from finpool.cli.main import run as finpool
from finpool.identity import service as identity
from finpool.identity.platform_tokens import issue_platform_token
from finpool.identity.schemas import NewKey
from finpool.identity.service import KeyDirectory
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.changes import ChangeFeed
from finpool.kernel.clock import now
from finpool.kernel.database import Database
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings
from finpool.policy.service import Policy
from finpool.tenancy.models import Project
from finpool.tenancy.service import TenantDirectory

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
BANKS = "/v1/tenants/bank-a"
OWN = "/v1/organization"


class Doors:
    """Clients of both doors without a network, by role: `await doors("owner").get(...)`, `doors.operator`."""

    def __init__(self, operators: FastAPI, tenants: FastAPI, credentials: dict[str, str]) -> None:
        self._tenants = tenants
        self.credentials = credentials
        self.operators = operators
        self.operator = self._client(operators, Role.OPERATOR_BILLING)
        self.sre = self._client(operators, Role.OPERATOR_SRE)

    def __call__(self, key: str) -> httpx2.AsyncClient:
        """Return a bank's client with a key of that name."""
        return self._client(self._tenants, key)

    def _client(self, app: FastAPI, name: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {self.credentials[name]}"}
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://finpool", headers=headers)


@pytest.fixture
async def doors(
    bank: Any, open_bank: Any, settings: Settings, database: Callable[[str], Database], tmp_path: Path
) -> AsyncIterator[Doors]:
    """Both doors, for a catalogue priced in EUR with 6 % of tax, and two banks with a key of each role."""
    await open_bank("bank-b")
    catalogue = tmp_path / "models"
    catalogue.mkdir()
    for file in default_directory().glob("*.yaml"):
        (catalogue / file.name).write_text(file.read_text().replace("currency: CNY", "currency: EUR"))
    changed = {"catalogue_dir": catalogue, "invoice_tax_basis_points": 600, "invoice_seller_name": "聯合平台"}
    settings = settings.model_copy(update=changed)
    pepper = settings.secret("key_pepper")
    credentials: dict[str, str] = {}
    async with database("owner").across_tenants() as session:
        for role in (Role.OPERATOR_BILLING, Role.OPERATOR_SRE):
            _, credentials[role] = await issue_platform_token(session, role, "test", pepper=pepper)
    async with database("operator").across_tenants() as session:
        for name in ("bank-a", "bank-b"):
            row = Project(tenant_id=name, project_id="credit", name="c", status="active", created_at=now())
            session.add(row)
        await session.flush()
        for name in ("owner", "developer", "finance", "auditor"):
            body = NewKey(project_id="credit", name=name, role=name)
            _, credentials[name] = await identity.create_key(session, OPERATOR, TenantId("bank-a"), body, pepper=pepper)
        other = NewKey(project_id="credit", name="owner", role="owner")
        _, credentials["foreign"] = await identity.create_key(
            session, OPERATOR, TenantId("bank-b"), other, pepper=pepper
        )
    tenants = TenantDirectory()
    directory, policy = KeyDirectory(pepper, tenants), Policy((), tenants)
    feed = ChangeFeed(database("inference"), [tenants, directory, policy], age_max_seconds=60)
    async with AsyncExitStack() as stack:
        await feed.start()
        stack.push_async_callback(feed.close)
        apps = operator.create_app(settings), tenant.create_app(settings, TenantGatekeeper(feed, directory, policy))
        for app in apps:
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield Doors(*apps, credentials)


@pytest.fixture
async def invoice(doors: Doors, bank: Any, use: Any, at: Any) -> dict[str, Any]:
    """An issued invoice of 12.00 and 24.00 before tax; one of its two requests alone."""
    bank.requests = await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    draft = await doors.operator.post(f"{BANKS}/invoices", json={"month": "2025-01"})
    assert draft.status_code == 201
    issued: dict[str, Any] = (await doors.operator.post(f"{BANKS}/invoices/{draft.json()['id']}/issue")).json()
    return issued


async def test_a_bank_reads_its_issued_invoices_and_never_a_draft_or_anothers(
    doors: Doors, invoice: dict[str, Any], bank: Any
) -> None:
    draft = (await doors.operator.post(f"{BANKS}/invoices", json={"month": "2025-02"})).json()
    assert (invoice["seller_name"], invoice["buyer_name"]) == ("聯合平台", "銀行 bank-a")
    assert (invoice["total_micros"], invoice["lines"][0]["amount_picos"]) == (38_160_000, str(12 * 10**12))
    listed = (await doors("finance").get(f"{OWN}/invoices")).json()
    assert [each["id"] for each in listed["data"]] == [invoice["id"]]
    assert (await doors("auditor").get(f"{OWN}/invoices/{invoice['id']}")).json() == invoice
    assert [each["id"] for each in (await doors.operator.get(f"{BANKS}/invoices")).json()["data"]] == [
        draft["id"],
        invoice["id"],
    ]
    for client, invoice_id in (("owner", draft["id"]), ("foreign", invoice["id"]), ("owner", "inv_unknown")):
        refused = await doors(client).get(f"{OWN}/invoices/{invoice_id}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "invoice_not_found")
    assert (await doors("developer").get(f"{OWN}/invoices")).status_code == 403
    assert (await doors.sre.post(f"{BANKS}/invoices", json={"month": "2025-02"})).status_code == 403


async def test_a_line_is_disputed_by_the_bank_and_credited_by_the_operator(
    doors: Doors, invoice: dict[str, Any], bank: Any
) -> None:
    body = {"invoice_id": invoice["id"], "line_no": 2, "reason": "回答被中斷"}
    opened = await doors("finance").post(f"{OWN}/disputes", json=body)
    assert (opened.status_code, opened.json()["status"]) == (201, "open")
    again = await doors("owner").post(f"{OWN}/disputes", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "already_disputed")
    waiting = (await doors.operator.get("/v1/disputes", params={"status": "open"})).json()["data"]
    assert [(each["tenant_id"], each["reason"]) for each in waiting] == [("bank-a", "回答被中斷")]
    path = f"{BANKS}/disputes/{opened.json()['id']}/answer"
    answer = {"verdict": "accepted", "answer": "half of it", "credit_micros": 12_000_000}
    answered = await doors.operator.post(path, json=answer)
    assert answered.json()["status"] == "accepted"
    assert (await doors.operator.post(path, json=answer)).json() == answered.json()
    refused = await doors.operator.post(path, json={"verdict": "rejected", "answer": "no"})
    assert refused.json()["error"]["code"] == "already_answered"
    note = (await doors("finance").get(f"{OWN}/invoices/{answered.json()['credit_note_id']}")).json()
    assert (note["kind"], note["total_micros"], note["refers_to"]) == ("credit_note", -12_720_000, invoice["id"])
    seen = (await doors("auditor").get(f"{OWN}/disputes/{opened.json()['id']}")).json()
    assert seen["answer"] == "half of it"
    async with bank.open_as("worker").across_tenants() as session:
        kinds = (await session.execute(text("SELECT kind FROM audit_outbox WHERE kind LIKE 'dispute.%'"))).scalars()
        assert sorted(kinds) == ["dispute.answered", "dispute.opened"]


async def test_a_disputed_request_is_credited_by_the_next_invoice_and_never_above_its_cost(
    doors: Doors, invoice: dict[str, Any], bank: Any
) -> None:
    [request] = bank.requests
    ids = []
    for verdict in ("rejected", "accepted"):
        opened = await doors("owner").post(f"{OWN}/disputes", json={"request_id": request, "reason": "empty"})
        ids.append(opened.json()["id"])
        answer: dict[str, Any] = {"verdict": verdict, "answer": verdict}
        if verdict == "accepted":
            above = await doors.operator.post(
                f"{BANKS}/disputes/{ids[-1]}/answer", json={**answer, "credit_micros": 36_000_001}
            )
            assert above.json()["error"]["code"] == "above_what_is_left"
        answered = (await doors.operator.post(f"{BANKS}/disputes/{ids[-1]}/answer", json=answer)).json()
        assert (answered["status"], answered["adjustment_id"] is None) == (verdict, verdict == "rejected")
    assert await bank.account() == {"posted": 0, "funded": 0}
    assert (await bank.balances())["unbilled"] == -36 * 10**12
    body = {"request_id": request, "reason": "once more"}
    third = (await doors("owner").post(f"{OWN}/disputes", json=body)).json()["id"]
    nothing = await doors.operator.post(f"{BANKS}/disputes/{third}/answer", json=answer)
    assert nothing.json()["error"]["code"] == "above_what_is_left"


async def test_a_bank_cannot_dispute_what_is_not_its_own(doors: Doors, invoice: dict[str, Any], bank: Any) -> None:
    line = {"invoice_id": invoice["id"], "line_no": 1, "reason": "mine"}
    request = {"request_id": bank.requests[0], "reason": "mine"}
    for body, code in ((line, "invoice_not_found"), (request, "request_not_found")):
        refused = await doors("foreign").post(f"{OWN}/disputes", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, code)
    assert (await doors("owner").post(f"{OWN}/disputes", json={**line, "line_no": 99})).json()["error"][
        "code"
    ] == "line_not_found"
    for wrong in ({**line, **request}, {"reason": "nothing"}, {**request, "reason": " "}):
        assert (await doors("owner").post(f"{OWN}/disputes", json=wrong)).status_code == 400
    for role in ("developer", "auditor"):
        assert (await doors(role).post(f"{OWN}/disputes", json=line)).status_code == 403


async def test_an_operator_bills_from_the_command_line(
    doors: Doors, bank: Any, use: Any, at: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        monkeypatch.setenv("FINPOOL_OPERATOR_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("OPERATOR_TOKEN", doors.credentials[Role.OPERATOR_BILLING])
        server = uvicorn.Server(uvicorn.Config(doors.operators, lifespan="off", log_level="error"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))

        async def command(*arguments: str) -> Any:
            assert await asyncio.to_thread(finpool, [*arguments, "--json"]) == 0, capsys.readouterr().err
            return orjson.loads(capsys.readouterr().out)

        draft = await command("invoice", "draft", "bank-a", "2025-01")
        issued = await command("invoice", "issue", "bank-a", draft["id"])
        credit = ("--reference", "case 1", "--reason", "agreed", "--line", "1", "--line", "2=10000")
        note = await command("invoice", "credit", "bank-a", issued["id"], *credit)
        assert note["total_micros"] == -12_730_000
        paid = await command(
            "invoice", "pay", "bank-a", issued["id"], "--amount-micros", "25430000", "--reference", "transfer 1"
        )
        assert paid["open_micros"] == 0
        shown = await command("invoice", "show", "bank-a", issued["id"])
        assert shown["status"] == "paid"
        assert {each["id"] for each in await command("invoice", "list", "bank-a")} == {issued["id"], note["id"]}
        assert await command("dispute", "list", "--status", "open") == []
        assert await asyncio.to_thread(finpool, ["invoice", "show", "bank-a", issued["id"]]) == 0
        assert issued["number"] in capsys.readouterr().out
        server.should_exit = True
        await serving
