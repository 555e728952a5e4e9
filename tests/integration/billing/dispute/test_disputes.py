"""Disputes at both doors: a bank opens one, and an operator answers it once."""

from typing import Any

from billing_doors import BANKS, OWN, Doors
from sqlalchemy import text


async def test_a_line_is_disputed_by_the_bank_and_credited_by_the_operator(
    doors: Doors, invoice_json: dict[str, Any], bank: Any
) -> None:
    body = {"invoice_id": invoice_json["id"], "line_no": 2, "reason": "回答被中斷"}
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
    assert (note["kind"], note["total_micros"], note["refers_to"]) == ("credit_note", -12_720_000, invoice_json["id"])
    seen = (await doors("auditor").get(f"{OWN}/disputes/{opened.json()['id']}")).json()
    assert seen["answer"] == "half of it"
    async with bank.open_as("worker").across_tenants() as session:
        kinds = (await session.execute(text("SELECT kind FROM audit_outbox WHERE kind LIKE 'dispute.%'"))).scalars()
        assert sorted(kinds) == ["dispute.answered", "dispute.opened"]


async def test_a_disputed_request_is_credited_by_the_next_invoice_and_never_above_its_cost(
    doors: Doors, invoice_json: dict[str, Any], bank: Any
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


async def test_a_bank_cannot_dispute_what_is_not_its_own(doors: Doors, invoice_json: dict[str, Any], bank: Any) -> None:
    line = {"invoice_id": invoice_json["id"], "line_no": 1, "reason": "mine"}
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
