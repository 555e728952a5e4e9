"""Tenants and projects, as an operator sees them."""

from typing import Any

import httpx2
from signed_context import sector_rows

from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
Client = httpx2.AsyncClient


async def audited(settings: Settings) -> list[tuple[str, str]]:
    """Return kind and tenant of everything about tenants that was handed to the audit log."""
    query = "SELECT kind, tenant_id FROM audit_outbox WHERE tenant_id <> '' ORDER BY outbox_id"
    rows = await sector_rows(settings.database_url("worker"), query)
    return [(row["kind"], row["tenant_id"]) for row in rows]


async def test_an_operator_creates_reads_and_changes_a_tenant(admin: Client) -> None:
    created = await admin.post("/v1/tenants", json={"id": "bank-a", "name": "銀行 A"})
    assert created.status_code == 201
    tenant = created.json()
    assert tenant | {"created_at": 0} == {
        "object": "tenant",
        "id": "bank-a",
        "name": "銀行 A",
        "status": "active",
        "models": ["*"],
        "version": 1,
        "created_at": 0,
    }
    assert (await admin.get("/v1/tenants/bank-a")).json() == tenant
    only = {"object": "list", "data": [tenant], "first_id": "bank-a", "last_id": "bank-a", "has_more": False}
    assert (await admin.get("/v1/tenants")).json() == only
    changed = await admin.patch("/v1/tenants/bank-a", json={"status": "suspended", "models": [MODEL]})
    assert changed.status_code == 200
    assert changed.json() == tenant | {"status": "suspended", "models": [MODEL], "version": 2}
    assert (await admin.get("/v1/tenants/bank-a")).json() == changed.json()


async def test_a_change_that_changes_nothing_keeps_the_version_and_leaves_no_trace(
    admin: Client, create_bank: Any, settings: Settings
) -> None:
    await create_bank()
    for body in ({}, {"name": "A bank"}, {"models": ["*"], "status": "active"}):
        assert (await admin.patch("/v1/tenants/bank-a", json=body)).json()["version"] == 1
    assert "tenant.changed" not in dict(await audited(settings))


async def test_every_write_is_audited_and_no_refused_one_is(
    admin: Client, create_bank: Any, settings: Settings
) -> None:
    key = await create_bank()
    keys = "/v1/tenants/bank-a/keys"
    assert (await admin.post("/v1/tenants", json={"id": "bank-a", "name": "again"})).status_code == 400
    assert (await admin.post(keys, json={"project_id": "nowhere", "name": "x"})).status_code == 404
    await admin.patch("/v1/tenants/bank-a", json={"name": "Renamed"})
    await admin.patch("/v1/tenants/bank-a/projects/retail", json={"name": "Renamed"})
    await admin.patch(f"{keys}/{key['id']}", json={"name": "Renamed"})
    await admin.delete(f"{keys}/{key['id']}")
    await admin.delete(f"{keys}/{key['id']}")
    kinds = [
        "tenant.created",
        "project.created",
        "key.created",
        "tenant.changed",
        "project.changed",
        "key.changed",
        "key.revoked",
    ]
    assert await audited(settings) == [(kind, "bank-a") for kind in kinds]


async def test_a_taken_id_is_a_400_that_clients_do_not_retry(admin: Client, create_bank: Any) -> None:
    await create_bank()
    for path in ("/v1/tenants", "/v1/tenants/bank-a/projects"):
        taken = await admin.post(path, json={"id": "bank-a" if path == "/v1/tenants" else "retail", "name": "x"})
        assert taken.status_code == 400
        assert taken.json()["error"]["code"] == "already_exists"
        assert taken.json()["error"]["param"] == "id"


async def test_two_tenants_may_name_a_project_alike(admin: Client, create_bank: Any) -> None:
    await create_bank("bank-a")
    await create_bank("bank-b")
    renamed = await admin.patch("/v1/tenants/bank-b/projects/retail", json={"status": "archived"})
    assert renamed.json()["status"] == "archived"
    assert [project["status"] for project in (await admin.get("/v1/tenants/bank-a/projects")).json()["data"]] == [
        "active"
    ]


async def test_a_model_that_the_catalogue_does_not_hold_cannot_be_granted(admin: Client, create_bank: Any) -> None:
    await create_bank()
    created = await admin.post("/v1/tenants", json={"id": "bank-b", "name": "B", "models": [MODEL, "unheard-of"]})
    changed = await admin.patch("/v1/tenants/bank-a", json={"models": ["unheard-of"]})
    for answer in (created, changed):
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "model_not_offered"
        assert "unheard-of" in answer.json()["error"]["message"]
    assert (await admin.get("/v1/tenants/bank-b")).status_code == 404


async def pages(admin: Client, path: str, **query: Any) -> list[list[str]]:
    """Return the ids of a list, page by page."""
    found: list[list[str]] = []
    page: dict[str, Any] = {"has_more": True}
    while page["has_more"]:
        page = (await admin.get(path, params=query)).json()
        found.append([each["id"] for each in page["data"]])
        query["after"] = page["last_id"]
    return found


async def test_every_list_comes_in_pages_that_lose_nothing(admin: Client, create_bank: Any) -> None:
    for bank in ("bank-b", "bank-c", "bank-a"):
        await create_bank(bank)
    keys, projects = "/v1/tenants/bank-a/keys", "/v1/tenants/bank-a/projects"
    for number in range(4):
        await admin.post(keys, json={"project_id": "retail", "name": str(number)})
        await admin.post(projects, json={"id": f"p{number}", "name": "x"})
    assert await pages(admin, "/v1/tenants", limit=2) == [["bank-a", "bank-b"], ["bank-c"]]
    assert await pages(admin, projects, limit=2) == [["p0", "p1"], ["p2", "p3"], ["retail"]]
    (whole,) = await pages(admin, keys)
    assert await pages(admin, keys, limit=2) == [whole[:2], whole[2:4], whole[4:]]
    (foreign,) = await pages(admin, "/v1/tenants/bank-b/keys")
    assert await pages(admin, keys, after=foreign[0]) == [[]]


async def test_a_part_of_a_list_that_cannot_be_meant_is_a_400(admin: Client, create_bank: Any) -> None:
    await create_bank()
    for path in ("/v1/tenants", "/v1/tenants/bank-a/keys", "/v1/tenants/bank-a/projects"):
        for query in ("limit=0", "limit=1001", "after=%00", "after=A", "before=x"):
            refused = await admin.get(f"{path}?{query}")
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, query.split("=")[0])
