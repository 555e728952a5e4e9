"""Evidence of fair shares: each bank's service beside its entitled share, and its waits."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from usage_doors import Doors

from finpool.billing.contract.models import Contract
from finpool.kernel.database.database import Database

MODEL = "smollm2-135m-instruct"
PATH = f"/v1/models/{MODEL}/service-shares"
START = datetime(2025, 3, 10, 12, 0, tzinfo=UTC)


def query(**more: Any) -> dict[str, Any]:
    return {"from": START.isoformat(), "to": (START + timedelta(minutes=3)).isoformat(), **more}


@pytest.fixture
async def served(used: Callable[..., Any], record: Callable[..., Any]) -> None:
    """In the first minute bank A has three times bank B's service, and B waits; in the third only B is served."""

    def one(bank: str, second: int, output_tokens: int, queue_ms: int | None, model_id: str = MODEL) -> Any:
        at = START + timedelta(seconds=second)
        return used(bank, at, model_id=model_id, input_tokens=100, output_tokens=output_tokens, queue_ms=queue_ms)

    await record(
        [
            one("bank-a", 1, 100, 0),
            one("bank-a", 59, 250, 10),
            one("bank-b", 30, 100, 4_000),
            one("bank-b", 125, 50, None),
            one("bank-b", 126, 50, 7, model_id="another-model"),
            one("bank-b", 180, 50, 7),
        ]
    )


async def test_each_window_shows_shares_and_waits_and_who_took_what_was_due_to_others(
    doors: Doors, served: None
) -> None:
    answer = (await doors.operator.get(PATH, params=query())).json()
    assert (answer["engine"], answer["models"], answer["window_seconds"]) == (MODEL, [MODEL], 60)
    first, third = answer["data"]
    assert [datetime.fromisoformat(each["start"]) - START for each in (first, third)] == [
        timedelta(0),
        timedelta(minutes=2),
    ]
    of_a, of_b = first["tenants"]
    assert of_a == {
        "tenant_id": "bank-a",
        "requests": 2,
        "service": 900,
        "share": 0.75,
        "entitled_share": 0.5,
        "noisy_neighbour_index": 0.0,
        "queue_ms_median": 0,
        "queue_ms_p95": 10,
        "queue_ms_max": 10,
    }
    assert (of_b["service"], of_b["share"], of_b["queue_ms_median"]) == (300, 0.25, 4_000)
    assert of_b["noisy_neighbour_index"] == 0.25
    (alone,) = third["tenants"]
    assert (alone["share"], alone["entitled_share"], alone["noisy_neighbour_index"]) == (1.0, 1.0, 0.0)
    assert alone["queue_ms_median"] is None


async def test_what_is_due_follows_the_contract_that_held_as_the_window_began(
    doors: Doors, served: None, database: Callable[[str], Database]
) -> None:
    def contract(bank: str, begins: datetime, weight: int) -> Contract:
        money: dict[str, Any] = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0}
        return Contract(
            tenant_id=bank,
            version=1,
            valid_from=begins,
            service_weight=weight,
            created_at=begins,
            created_by="test",
            **money,
        )

    async with database("operator").across_tenants() as session:
        session.add(contract("bank-a", START - timedelta(days=1), 3))
        session.add(contract("bank-b", START + timedelta(seconds=1), 9))
    answer = (await doors.operator.get(PATH, params=query())).json()
    of_a, of_b = answer["data"][0]["tenants"]
    assert (of_a["entitled_share"], of_b["entitled_share"]) == (0.75, 0.25)
    assert of_b["noisy_neighbour_index"] == 0.0
    assert (await doors.regulator.get(PATH, params=query())).json() == answer


async def test_that_a_supervisor_looked_is_on_record(
    doors: Doors, served: None, database: Callable[[str], Database]
) -> None:
    assert (await doors.regulator.get(PATH, params=query())).status_code == 200
    async with database("worker").across_tenants() as session:
        connection = await session.connection()
        rows = await connection.exec_driver_sql("SELECT body FROM audit_outbox WHERE kind = 'regulator.read'")
        read = [row.body for row in rows]
    assert [(each["resource"], each["parameters"]["model_id"]) for each in read] == [("service_shares", MODEL)]


async def test_windows_may_be_longer_and_are_never_too_many(doors: Doors, served: None) -> None:
    longer = (await doors.operator.get(PATH, params=query(window_seconds=3600))).json()
    assert [window["service"] for window in longer["data"]] == [1400]
    too_many = await doors.operator.get(PATH, params={"from": "2025-01-01", "to": "2025-03-01"})
    assert (too_many.status_code, "windows" in too_many.json()["error"]["message"]) == (400, True)


async def test_an_unknown_model_is_not_found(doors: Doors) -> None:
    assert (await doors.operator.get("/v1/models/nothing/service-shares")).status_code == 404
