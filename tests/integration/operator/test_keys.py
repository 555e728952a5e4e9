"""Keys, as an operator sees them."""

from typing import Any

import httpx2

Client = httpx2.AsyncClient


async def test_a_key_shows_its_secret_once_and_only_a_hint_after(admin: Client, create_bank: Any) -> None:
    key = await create_bank()
    secret = key.pop("secret")
    assert secret.startswith("fpk_")
    assert key["hint"] == secret[-4:]
    assert (key["role"], key["status"], key["revoked_at"]) == ("developer", "active", None)
    listed = await admin.get("/v1/tenants/bank-a/keys")
    assert listed.json()["data"] == [key]
    assert secret not in listed.text


async def test_revoking_a_key_twice_answers_the_same(admin: Client, create_bank: Any) -> None:
    key = await create_bank()
    path = f"/v1/tenants/bank-a/keys/{key['id']}"
    first, second = await admin.delete(path), await admin.delete(path)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["status"] == "revoked"
    assert first.json()["revoked_at"] is not None


async def test_a_key_belongs_to_an_active_project_of_its_own_tenant(admin: Client, create_bank: Any) -> None:
    await create_bank()
    await admin.post("/v1/tenants", json={"id": "bank-b", "name": "B"})
    foreign = await admin.post("/v1/tenants/bank-b/keys", json={"project_id": "retail", "name": "x"})
    await admin.patch("/v1/tenants/bank-a/projects/retail", json={"status": "archived"})
    archived = await admin.post("/v1/tenants/bank-a/keys", json={"project_id": "retail", "name": "x"})
    assert foreign.status_code == archived.status_code == 404
    assert foreign.json() == archived.json()


async def test_a_key_cannot_be_reached_through_another_tenant(admin: Client, create_bank: Any) -> None:
    key = await create_bank("bank-a")
    await create_bank("bank-b")
    unknown = f"key_{'0' * 24}"
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        foreign = await admin.request(method, f"/v1/tenants/bank-b/keys/{key['id']}", json=body)
        absent = await admin.request(method, f"/v1/tenants/bank-b/keys/{unknown}", json=body)
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text.replace(key["id"], unknown) == absent.text
    assert (await admin.get("/v1/tenants/bank-a/keys")).json()["data"][0]["status"] == "active"
