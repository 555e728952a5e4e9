"""Invoices at both doors and on the command line."""

import asyncio
import socket
from typing import Any

import orjson
import pytest
import uvicorn
from billing_doors import BANKS, OWN, Doors

from finpool.cli.main import run as finpool
from finpool.kernel.actor import Role


async def test_a_bank_reads_its_issued_invoices_and_never_a_draft_or_anothers(
    doors: Doors, invoice_json: dict[str, Any], bank: Any
) -> None:
    draft = (await doors.operator.post(f"{BANKS}/invoices", json={"month": "2025-02"})).json()
    assert (invoice_json["seller_name"], invoice_json["buyer_name"]) == ("聯合平台", "銀行 bank-a")
    assert (invoice_json["total_micros"], invoice_json["lines"][0]["amount_picos"]) == (38_160_000, str(12 * 10**12))
    listed = (await doors("finance").get(f"{OWN}/invoices")).json()
    assert [each["id"] for each in listed["data"]] == [invoice_json["id"]]
    assert (await doors("auditor").get(f"{OWN}/invoices/{invoice_json['id']}")).json() == invoice_json
    assert [each["id"] for each in (await doors.operator.get(f"{BANKS}/invoices")).json()["data"]] == [
        draft["id"],
        invoice_json["id"],
    ]
    for client, invoice_id in (("owner", draft["id"]), ("foreign", invoice_json["id"]), ("owner", "inv_unknown")):
        refused = await doors(client).get(f"{OWN}/invoices/{invoice_id}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "invoice_not_found")
    assert (await doors("developer").get(f"{OWN}/invoices")).status_code == 403
    assert (await doors.sre.post(f"{BANKS}/invoices", json={"month": "2025-02"})).status_code == 403


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
