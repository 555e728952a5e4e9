"""A bank checks its own share of an engine, and learns of the others only what a share of a whole implies."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_declarations import CPU_ENGINE, PRICE, adapter_declaration, vllm_declaration
from usage_doors import Doors

from finpool.billing.contract.models import Contract
from finpool.catalogue.model.schemas import INPUT_WEIGHT, OUTPUT_WEIGHT
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

MODEL, OF_B, ONLY_B, OF_A = "shared-base", "tuned-for-b", "engine-of-b", "tuned-for-a"
START = datetime(2025, 3, 10, 12, 0, tzinfo=UTC)
HOUR = 3600


def path(model_id: str = MODEL) -> str:
    return f"/v1/organization/models/{model_id}/service-share"


def query(hours: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "from": START.isoformat(),
        "to": (START + timedelta(hours=hours)).isoformat(),
        "window_seconds": HOUR,
    } | more


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A catalogue with a base, an adapter of each bank on it, and a model that is bank B's alone."""
    directory = tmp_path / "catalogue"
    directory.mkdir()
    engine = {**CPU_ENGINE, "lora": {"slots": 2, "rank_max": 8}}
    for each in (
        vllm_declaration(id=MODEL, engine=engine, price=PRICE),
        vllm_declaration(id=ONLY_B, engine=CPU_ENGINE, price=PRICE, tenants=["bank-b"]),
        adapter_declaration(id=OF_A, base=MODEL, tenants=["bank-a"]),
        adapter_declaration(id=OF_B, base=MODEL, tenants=["bank-b"]),
    ):
        (directory / f"{each['id']}.yaml").write_text(yaml.safe_dump(each))
    return settings.model_copy(update={"catalogue_dir": directory})


@pytest.fixture
async def served(used: Callable[..., Any], record: Callable[..., Any], database: Callable[[str], Database]) -> None:
    """Both banks in the first hour, B (whose contract guarantees it 60 %) in the second, A alone in the third."""

    def one(bank: str, minute: float, tokens: tuple[int, int], queue_ms: int | None, model_id: str = MODEL) -> Any:
        at = START + timedelta(minutes=minute)
        return used(bank, at, model_id=model_id, input_tokens=tokens[0], output_tokens=tokens[1], queue_ms=queue_ms)

    await record(
        [
            one("bank-a", 1, (100, 101), 3),
            one("bank-a", 20, (107, 43), 901, model_id=OF_A),
            one("bank-b", 30, (7000, 11), 4_567),
            one("bank-b", 59, (31, 2222), 8_901, model_id=OF_B),
            one("bank-b", 70, (5551, 5), 77),
            one("bank-a", 150, (11, 4), None),
        ]
    )
    terms: dict[str, Any] = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0, "created_by": "test"}
    async with database("operator").across_tenants() as session:
        for bank, weight, share_min in (("bank-a", 13, 0), ("bank-b", 17, 6_000)):
            begins = START - timedelta(days=1)
            fields: dict[str, Any] = {"valid_from": begins, "created_at": begins, "service_weight": weight, **terms}
            session.add(Contract(tenant_id=bank, version=1, service_share_min_basis_points=share_min, **fields))


async def ask(doors: Doors, who: str, model_id: str = MODEL, **more: Any) -> Any:
    async with doors.tenant(who) as client:
        return await client.get(path(model_id), params=query(**more))


async def as_operator(doors: Doors, bank: str) -> list[dict[str, Any]]:
    """Return what the operators' door says of one bank, in the form in which the bank reads it."""
    answer = (await doors.operator.get(f"/v1/models/{MODEL}/service-shares", params=query())).json()
    return [
        {"start": window["start"], "end": window["end"], **{k: v for k, v in each.items() if k != "tenant_id"}}
        for window in answer["data"]
        for each in window["tenants"]
        if each["tenant_id"] == bank
    ]


@pytest.mark.parametrize("bank", ["bank-a", "bank-b"])
async def test_a_bank_reads_of_itself_what_the_operator_reads_of_it(doors: Doors, served: None, bank: str) -> None:
    answer = (await ask(doors, f"{bank}/developer")).json()
    assert answer["data"] == await as_operator(doors, bank)
    assert [datetime.fromisoformat(each["start"]) - START for each in answer["data"]] == [
        timedelta(0),
        timedelta(hours=2 if bank == "bank-a" else 1),
    ]


async def test_the_figures_follow_from_usage_and_contracts(doors: Doors, served: None) -> None:
    first, third = (await ask(doors, "bank-a/finance")).json()["data"]
    service = INPUT_WEIGHT * (100 + 107) + OUTPUT_WEIGHT * (101 + 43)
    whole = service + INPUT_WEIGHT * (7000 + 31) + OUTPUT_WEIGHT * (11 + 2222)
    assert first == {
        "start": "2025-03-10T12:00:00Z",
        "end": "2025-03-10T13:00:00Z",
        "requests": 2,
        "service": service,
        "share": round(service / whole, 6),
        "entitled_share": 0.4,
        "noisy_neighbour_index": round(0.4 - service / whole, 6),
        "queue_ms_median": 3,
        "queue_ms_p95": 901,
        "queue_ms_max": 901,
    }
    assert (third["share"], third["entitled_share"], third["queue_ms_max"]) == (1.0, 1.0, None)


async def test_nothing_of_another_bank_is_in_the_answer(doors: Doors, served: None) -> None:
    answer = await ask(doors, "bank-a/owner")
    window = (await doors.operator.get(f"/v1/models/{MODEL}/service-shares", params=query())).json()["data"][0]
    of_b = next(each for each in window["tenants"] if each["tenant_id"] == "bank-b")
    figures = ("service", "share", "entitled_share", "queue_ms_median", "queue_ms_max")
    others = {str(of_b[name]) for name in figures} | {str(window["service"])}
    others |= {"bank-b", OF_B, ONLY_B, "tenant", "total"}
    assert sorted(each for each in others if each in answer.text) == []
    assert answer.json()["models"] == [MODEL, OF_A]
    assert set(answer.json()) == {"object", "model", "models", "window_seconds", "data"}


async def test_all_models_of_the_engine_count_whichever_is_asked_about(doors: Doors, served: None) -> None:
    of_base, of_adapter = [(await ask(doors, "bank-a/owner", each)).json() for each in (MODEL, OF_A)]
    assert of_base["data"] == of_adapter["data"]
    assert (of_base["model"], of_adapter["model"]) == (MODEL, OF_A)


@pytest.mark.parametrize("model_id", [OF_B, ONLY_B, "never-declared"])
async def test_a_model_that_a_bank_may_not_see_is_not_found(doors: Doors, served: None, model_id: str) -> None:
    refused = await ask(doors, "bank-a/owner", model_id)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (404, "model_not_found")
    assert error["message"] == f"The model '{model_id}' does not exist or you do not have access to it."


async def test_a_model_outside_the_contract_is_not_found_and_not_named(
    doors: Doors, served: None, database: Callable[[str], Database]
) -> None:
    async with database("operator").across_tenants() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(f"UPDATE tenant SET models = '{{{OF_A}}}' WHERE tenant_id = 'bank-a'")
    assert (await ask(doors, "bank-a/owner", MODEL)).status_code == 404
    answer = await ask(doors, "bank-a/owner", OF_A)
    assert (answer.status_code, answer.json()["models"], MODEL in answer.text) == (200, [OF_A], False)


@pytest.mark.parametrize("seconds", [60, 899, 901, 1000, 0, -900])
async def test_a_window_that_could_tell_of_less_than_a_quarter_of_an_hour_is_refused(
    doors: Doors, served: None, seconds: int
) -> None:
    refused = await ask(doors, "bank-a/owner", window_seconds=seconds)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "window_seconds")
    assert "900" in error["message"]
    assert ";" not in error["message"]


async def test_a_time_is_never_cut_to_less_than_whole_windows(doors: Doors, served: None) -> None:
    whole = (await ask(doors, "bank-a/owner")).json()["data"]
    narrow = {"from": (START + timedelta(minutes=19)).isoformat(), "to": (START + timedelta(minutes=21)).isoformat()}
    assert (await ask(doors, "bank-a/owner", **narrow)).json()["data"] == []
    wider = {"from": narrow["from"], "to": (START + timedelta(minutes=61)).isoformat()}
    assert (await ask(doors, "bank-a/owner", **wider)).json()["data"] == whole[:1]


async def test_a_window_under_way_or_only_just_over_is_not_shown(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any]
) -> None:
    moment = now()
    await record([used("bank-a", moment, model_id=MODEL), used("bank-a", moment - timedelta(hours=2), model_id=MODEL)])
    async with doors.tenant("bank-a/owner") as client:
        by_default = (await client.get(path())).json()
        ahead = (await client.get(path(), params={"to": (moment + timedelta(days=1)).isoformat()})).json()
    for answer in (by_default, ahead):
        (window,) = answer["data"]
        assert datetime.fromisoformat(window["end"]) + timedelta(minutes=1) <= moment
        assert answer["window_seconds"] == HOUR


async def test_more_than_a_month_at_once_is_refused(doors: Doors, served: None) -> None:
    refused = await ask(doors, "bank-a/owner", hours=24 * 32)
    assert (refused.status_code, "31 days" in refused.json()["error"]["message"]) == (400, True)
