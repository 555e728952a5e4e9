"""Admission at the operators' door, and its answers to requests that it does not understand."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from finpool.apps.operator import create_app
from finpool.kernel.actor import Role
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
Client = httpx2.AsyncClient


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


async def test_what_does_not_exist_is_a_404(admin: Client, create_bank: Any) -> None:
    for path in ("", "/projects", "/keys", "/limits", "/account"):
        absent = await admin.get(f"/v1/tenants/bank-z{path}")
        assert (absent.status_code, absent.json()["error"]["code"]) == (404, "tenant_not_found")
    await create_bank()
    project = await admin.patch("/v1/tenants/bank-a/projects/none", json={"name": "x"})
    assert (project.status_code, project.json()["error"]["code"]) == (404, "project_not_found")


async def test_credentials_that_do_not_fit_this_door_are_refused_alike_in_each_kind(
    client: Client, token: Callable[..., Any], database: Callable[[str], Database]
) -> None:
    good, regulator = await token(Role.OPERATOR_ADMIN), await token(Role.REGULATOR_SUPERVISOR)
    revoked = await token(Role.OPERATOR_SRE)
    connection = await database("owner").connect()
    await connection.execute("UPDATE platform_token SET status = 'revoked' WHERE role = 'operator.sre'")
    await connection.close()
    mistyped = good[:-1] + ("a" if good[-1] != "a" else "b")
    absent, without_key = (None, ""), ("Bearer", f"Basic {good}")
    wrong = ("Bearer x", f"Bearer {mistyped}", f"Bearer {regulator}", f"Bearer {revoked}")
    for credentials in (absent, without_key, wrong):
        answers = set()
        for header in credentials:
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
