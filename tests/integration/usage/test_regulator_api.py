"""The regulators' door: institutions and the audit log, in which the regulators' own reads stand too."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from usage_doors import Doors

from finpool.audit.schemas import Entry, verify_chain
from finpool.audit.sequencer import Sequencer
from finpool.kernel.database.database import Database


async def sequenced(database: Callable[[str], Database]) -> None:
    while await Sequencer(database("worker")).run_once():
        pass


async def test_institutions_show_contract_projects_and_recent_use(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    recent = datetime.now(UTC) - timedelta(days=2)
    await record([used("bank-a", day), used("bank-a", recent), used("bank-a", recent - timedelta(hours=1))])
    answer = (await doors.regulator.get("/v1/institutions")).json()
    assert answer["object"] == "list"
    bank_a, bank_b = answer["data"]
    created_at = bank_a.pop("created_at")
    assert isinstance(created_at, int)
    assert bank_a == {
        "object": "institution",
        "id": "bank-a",
        "name": "bank-a",
        "status": "active",
        "models": ["*"],
        "projects": 2,
        "first_used_at": int(day.timestamp()),
        "last_used_at": int(recent.timestamp()),
        "last_30_days": {"requests": 2, "input_tokens": 20, "output_tokens": 6},
    }
    assert (bank_b["first_used_at"], bank_b["last_used_at"]) == (None, None)
    assert bank_b["last_30_days"] == {"requests": 0, "input_tokens": 0, "output_tokens": 0}


async def test_the_whole_log_can_be_read_in_pages_and_verified(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    await sequenced(database)
    entries, heads = [], []
    after: int | None = -1
    while after is not None:
        page = (await doors.regulator.get("/v1/entries", params={"limit": 2, "after": after})).json()
        entries += [Entry.model_validate(each) for each in page["data"]]
        heads.append(page["head"])
        after = page["next"]
    assert len(entries) == 8
    assert verify_chain(entries) is None
    assert heads == [{"seq": 7, "hash": entries[-1].hash}] * len(heads)
    assert {orjson.loads(each.entry)["kind"] for each in entries} == {"token.issued", "key.created"}


async def test_an_empty_log_has_no_head(doors: Doors) -> None:
    answer = (await doors.regulator.get("/v1/entries")).json()
    assert (answer["data"], answer["head"], answer["next"]) == ([], None, None)
    assert answer["freshness"]["last_entry_seconds"] is None


async def test_entries_about_one_tenant_can_be_asked_for(doors: Doors, database: Callable[[str], Database]) -> None:
    await sequenced(database)
    page = (await doors.regulator.get("/v1/entries", params={"tenant_id": "bank-b"})).json()
    assert [each["tenant_id"] for each in page["data"]] == ["bank-b"] * 3
    assert page["head"]["seq"] == 7


async def test_each_read_of_a_regulator_is_recorded_without_a_tenant(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    await sequenced(database)
    await doors.regulator.get("/v1/institutions")
    await doors.regulator.get("/v1/usage", params={"from": "2026-03-01", "to": "2026-03-02", "tenant_id": "bank-a"})
    await doors.regulator.get("/v1/entries", params={"after": 3})
    await sequenced(database)
    page = (await doors.regulator.get("/v1/entries", params={"after": 7})).json()
    reads = [orjson.loads(each["entry"]) for each in page["data"]]
    assert [(each["kind"], each["tenant_id"]) for each in reads] == [("regulator.read", None)] * 3
    assert {each["body"]["actor"]["role"] for each in reads} == {"regulator.examiner"}
    assert [(each["body"]["resource"], each["body"]["parameters"]) for each in reads] == [
        ("institutions", {"after": None, "limit": 100}),
        (
            "usage",
            {
                "from": "2026-03-01T00:00:00Z",
                "to": "2026-03-02T00:00:00Z",
                "group_by": ["tenant"],
                "tenant_id": "bank-a",
            },
        ),
        ("entries", {"after": 3, "limit": 100, "tenant_id": None}),
    ]


async def test_a_bad_entries_query_is_a_400_that_names_the_parameter(doors: Doors) -> None:
    for query in ("after=x", "after=-2", f"after={2**63}", "limit=0", "limit=1001", "tenant_id=%00", "kind=x"):
        answer = await doors.regulator.get(f"/v1/entries?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.split("=")[0])


async def test_no_other_doors_credential_opens_the_regulators(doors: Doors) -> None:
    for key in ("operator.admin", "bank-a/owner", ""):
        doors.regulator.headers["authorization"] = f"Bearer {doors.keys.get(key, '')}"
        for path in ("/v1/institutions", "/v1/usage", "/v1/entries"):
            answer = await doors.regulator.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_health_needs_no_credential(doors: Doors) -> None:
    del doors.regulator.headers["authorization"]
    assert (await doors.regulator.get("/healthz")).status_code == 200
    assert (await doors.regulator.get("/readyz")).status_code == 200


async def test_institutions_come_in_pages(doors: Doors) -> None:
    first = (await doors.regulator.get("/v1/institutions", params={"limit": 1})).json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (["bank-a"], True)
    rest = (await doors.regulator.get("/v1/institutions", params={"after": first["last_id"]})).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (["bank-b"], False)
