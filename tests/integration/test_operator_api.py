"""The operators' door, as a caller sees it: the real app over a real database."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from finpool.apps.operator import create_app
from finpool.identity.service import issue_platform_token
from finpool.kernel.actor import Role
from finpool.kernel.database import Database
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
Client = httpx2.AsyncClient


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """Call the operators' door without a credential."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Client(transport=transport, base_url="http://operator") as client:
        yield client


@pytest.fixture
async def token(settings: Settings, database: Callable[[str], Database]) -> Callable[..., Any]:
    """Issue a token: `await token(Role.OPERATOR_SRE)`."""

    async def issue(role: Role) -> str:
        async with database("owner").across_tenants() as session:
            return (await issue_platform_token(session, role, "a person", pepper=settings.secret("key_pepper")))[1]

    return issue


@pytest.fixture
async def admin(client: Client, token: Callable[..., Any]) -> Client:
    """Call the operators' door as an administrator."""
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_ADMIN)}"
    return client


async def create_bank(admin: Client, tenant_id: str = "bank-a") -> dict[str, Any]:
    """Create a tenant with one project and one key; return the key."""
    assert (await admin.post("/v1/tenants", json={"id": tenant_id, "name": "A bank"})).status_code == 201
    project = {"id": "retail", "name": "Retail"}
    assert (await admin.post(f"/v1/tenants/{tenant_id}/projects", json=project)).status_code == 201
    key = await admin.post(f"/v1/tenants/{tenant_id}/keys", json={"project_id": "retail", "name": "first"})
    assert key.status_code == 201
    body: dict[str, Any] = key.json()
    return body


async def audited(settings: Settings) -> list[tuple[str, str]]:
    """Return kind and tenant of everything that was handed to the audit log."""
    connection = await asyncpg.connect(settings.database_url("worker"))
    try:
        await connection.execute("SELECT set_config('finpool.scope', 'sector', false)")
        rows = await connection.fetch("SELECT kind, tenant_id FROM audit_outbox ORDER BY outbox_id")
    finally:
        await connection.close()
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
    assert (await admin.get("/v1/tenants")).json() == {"object": "list", "data": [tenant]}
    changed = await admin.patch("/v1/tenants/bank-a", json={"status": "suspended", "models": [MODEL]})
    assert changed.status_code == 200
    assert changed.json() == tenant | {"status": "suspended", "models": [MODEL], "version": 2}
    assert (await admin.get("/v1/tenants/bank-a")).json() == changed.json()


async def test_a_change_that_changes_nothing_keeps_the_version_and_leaves_no_trace(
    admin: Client, settings: Settings
) -> None:
    await create_bank(admin)
    for body in ({}, {"name": "A bank"}, {"models": ["*"], "status": "active"}):
        assert (await admin.patch("/v1/tenants/bank-a", json=body)).json()["version"] == 1
    assert "tenant.changed" not in dict(await audited(settings))


async def test_every_write_is_audited_and_no_refused_one_is(admin: Client, settings: Settings) -> None:
    key = await create_bank(admin)
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


async def test_a_taken_id_is_a_400_that_clients_do_not_retry(admin: Client) -> None:
    await create_bank(admin)
    for path in ("/v1/tenants", "/v1/tenants/bank-a/projects"):
        taken = await admin.post(path, json={"id": "bank-a" if path == "/v1/tenants" else "retail", "name": "x"})
        assert taken.status_code == 400
        assert taken.json()["error"]["code"] == "already_exists"
        assert taken.json()["error"]["param"] == "id"


async def test_two_tenants_may_name_a_project_alike(admin: Client) -> None:
    await create_bank(admin, "bank-a")
    await create_bank(admin, "bank-b")
    renamed = await admin.patch("/v1/tenants/bank-b/projects/retail", json={"status": "archived"})
    assert renamed.json()["status"] == "archived"
    assert [project["status"] for project in (await admin.get("/v1/tenants/bank-a/projects")).json()["data"]] == [
        "active"
    ]


async def test_a_model_that_the_catalogue_does_not_hold_cannot_be_granted(admin: Client) -> None:
    await create_bank(admin)
    created = await admin.post("/v1/tenants", json={"id": "bank-b", "name": "B", "models": [MODEL, "unheard-of"]})
    changed = await admin.patch("/v1/tenants/bank-a", json={"models": ["unheard-of"]})
    for answer in (created, changed):
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "model_not_offered"
        assert "unheard-of" in answer.json()["error"]["message"]
    assert (await admin.get("/v1/tenants/bank-b")).status_code == 404


async def test_a_key_shows_its_secret_once_and_only_a_hint_after(admin: Client) -> None:
    key = await create_bank(admin)
    secret = key.pop("secret")
    assert secret.startswith("fpk_")
    assert key["hint"] == secret[-4:]
    assert (key["role"], key["status"], key["revoked_at"]) == ("developer", "active", None)
    listed = await admin.get("/v1/tenants/bank-a/keys")
    assert listed.json() == {"object": "list", "data": [key]}
    assert secret not in listed.text


async def test_revoking_a_key_twice_answers_the_same(admin: Client) -> None:
    key = await create_bank(admin)
    path = f"/v1/tenants/bank-a/keys/{key['id']}"
    first, second = await admin.delete(path), await admin.delete(path)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["status"] == "revoked"
    assert first.json()["revoked_at"] is not None


async def test_a_key_belongs_to_an_active_project_of_its_own_tenant(admin: Client) -> None:
    await create_bank(admin)
    await admin.post("/v1/tenants", json={"id": "bank-b", "name": "B"})
    foreign = await admin.post("/v1/tenants/bank-b/keys", json={"project_id": "retail", "name": "x"})
    await admin.patch("/v1/tenants/bank-a/projects/retail", json={"status": "archived"})
    archived = await admin.post("/v1/tenants/bank-a/keys", json={"project_id": "retail", "name": "x"})
    assert foreign.status_code == archived.status_code == 404
    assert foreign.json() == archived.json()


async def test_a_key_cannot_be_reached_through_another_tenant(admin: Client) -> None:
    key = await create_bank(admin, "bank-a")
    await create_bank(admin, "bank-b")
    unknown = f"key_{'0' * 24}"
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        foreign = await admin.request(method, f"/v1/tenants/bank-b/keys/{key['id']}", json=body)
        absent = await admin.request(method, f"/v1/tenants/bank-b/keys/{unknown}", json=body)
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text.replace(key["id"], unknown) == absent.text
    assert (await admin.get("/v1/tenants/bank-a/keys")).json()["data"][0]["status"] == "active"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tenants", {"id": "Bank A", "name": "A"}),
        ("/v1/tenants", {"id": "bank-a", "name": "A", "status": "suspended"}),
        ("/v1/tenants", {"id": "bank-a"}),
        ("/v1/tenants", []),
        ("/v1/tenants/bank-a/keys", {"project_id": "retail", "name": "x", "role": "operator.admin"}),
        ("/v1/tenants/bank-a/keys", {"project_id": "retail", "name": "x", "digest": "00"}),
        ("/v1/tenants/bank-a/keys", {"project_id": "retail", "name": "x", "tenant_id": "bank-b"}),
    ],
)
async def test_a_body_that_is_not_exactly_right_is_a_400_in_the_one_error_shape(
    admin: Client, path: str, body: object
) -> None:
    refused = await admin.post(path, json=body)
    assert refused.status_code == 400
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("tenant_id", ["%00", "Bank-A", "..%2Fx", "a" * 64, "bank-a%0A", "%ED%A0%80"])
async def test_an_id_that_can_be_none_is_refused_on_every_route(admin: Client, tenant_id: str) -> None:
    for path in ("", "/projects", "/keys", "/limits", "/account"):
        assert (await admin.get(f"/v1/tenants/{tenant_id}{path}")).status_code in (400, 404)


async def test_what_does_not_exist_is_a_404(admin: Client) -> None:
    for path in ("", "/projects", "/keys", "/limits", "/account"):
        absent = await admin.get(f"/v1/tenants/bank-z{path}")
        assert (absent.status_code, absent.json()["error"]["code"]) == (404, "tenant_not_found")
    await create_bank(admin)
    project = await admin.patch("/v1/tenants/bank-a/projects/none", json={"name": "x"})
    assert (project.status_code, project.json()["error"]["code"]) == (404, "project_not_found")


async def test_every_credential_that_does_not_fit_this_door_is_refused_alike(
    client: Client, token: Callable[..., Any], database: Callable[[str], Database]
) -> None:
    good, regulator = await token(Role.OPERATOR_ADMIN), await token(Role.REGULATOR_SUPERVISOR)
    revoked = await token(Role.OPERATOR_SRE)
    connection = await asyncpg.connect(database("owner").url)
    await connection.execute("UPDATE platform_token SET status = 'revoked' WHERE role = 'operator.sre'")
    await connection.close()
    mistyped = good[:-1] + ("a" if good[-1] != "a" else "b")
    credentials = [None, "", "Bearer", "Bearer x", f"Basic {good}", f"Bearer {mistyped}"]
    answers = set()
    for header in (*credentials, f"Bearer {regulator}", f"Bearer {revoked}"):
        refused = await client.get("/v1/tenants", headers={} if header is None else {"authorization": header})
        answers.add((refused.status_code, refused.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert (await client.get("/v1/tenants", headers={"authorization": f"Bearer {good}"})).status_code == 200


async def test_a_role_does_only_what_the_table_says(client: Client, token: Callable[..., Any]) -> None:
    for role, expected in ((Role.OPERATOR_SRE, 403), (Role.OPERATOR_BILLING, 403), (Role.OPERATOR_ADMIN, 201)):
        header = {"authorization": f"Bearer {await token(role)}"}
        assert (await client.get("/v1/tenants", headers=header)).status_code == 200
        created = await client.post("/v1/tenants", headers=header, json={"id": "bank-a", "name": "A"})
        assert created.status_code == expected


async def test_the_models_of_the_catalogue_are_listed_with_price_and_licence(admin: Client) -> None:
    listed = (await admin.get("/v1/models")).json()
    model = next(each for each in listed["data"] if each["id"] == MODEL)
    assert model["licence"] == "Apache-2.0"
    assert model["price"]["input_micros_per_million_tokens"] >= 0
    assert model["price_version"].startswith(MODEL)


async def test_health_needs_no_credential_and_tells_when_the_database_is_gone(
    client: Client, settings: Settings, token: Callable[..., Any]
) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    urls = settings.model_copy(update={"operator_database_url": _nowhere(settings)})
    app = create_app(urls)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Client(transport=transport, base_url="http://operator") as cut_off:
        assert (await cut_off.get("/healthz")).status_code == 200
        ready = await cut_off.get("/readyz")
        malformed, good = "fpo_" + "0" * 36, await token(Role.OPERATOR_ADMIN)
        answers = [
            await cut_off.get("/v1/tenants", headers={"authorization": f"Bearer {x}"}) for x in (malformed, good)
        ]
    assert ready.status_code == 503
    assert "database" in ready.json()["error"]["message"]
    assert [answer.status_code for answer in answers] == [401, 503]


def _nowhere(settings: Settings) -> Any:
    assert settings.operator_database_url is not None
    value = settings.operator_database_url.get_secret_value().split("?")[0]
    return type(settings.operator_database_url)(f"{value}?host=/nonexistent")
