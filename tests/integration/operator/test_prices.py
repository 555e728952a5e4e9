"""Operators schedule prices: from a moment on, never before, and a version never gets another meaning."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from httpx2 import AsyncClient

from finpool.catalogue.price import service as price_service
from finpool.catalogue.price.schemas import TokenPrice
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database

MODEL = "smollm2-135m-instruct"
PATH = f"/v1/models/{MODEL}/prices"


def amounts(input_micros: int = 100, cached_micros: int = 50, output_micros: int = 300) -> dict[str, int]:
    return {
        "input_micros_per_million_tokens": input_micros,
        "cached_input_micros_per_million_tokens": cached_micros,
        "output_micros_per_million_tokens": output_micros,
    }


def later(**delta: float) -> str:
    return (now() + timedelta(**delta)).isoformat()


@pytest.fixture
async def owner(clean_postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    yield connection
    await connection.close()


async def test_the_declared_price_is_in_force_until_another_is_scheduled(admin: AsyncClient) -> None:
    before = (await admin.get(PATH)).json()
    assert (before["declared_in_force"], before["data"]) == (True, [])
    posted = await admin.post(PATH, json={"tier": "standard", "price": amounts()})
    assert posted.status_code == 201
    after = (await admin.get(PATH)).json()
    assert after["declared_in_force"] is False
    assert [each["in_force"] for each in after["data"]] == [True]
    assert after["data"][0]["price"] == amounts()
    assert after["data"][0]["price_version"].startswith(f"{MODEL}@")


async def test_the_catalogue_shows_the_standard_price_in_force(admin: AsyncClient) -> None:
    posted = (await admin.post(PATH, json={"tier": "standard", "price": amounts()})).json()
    model = next(each for each in (await admin.get("/v1/models")).json()["data"] if each["id"] == MODEL)
    assert model["price_version"] == posted["price_version"]
    assert model["price"] == {"currency": "CNY", **amounts()}


async def test_a_price_may_begin_later_and_the_list_says_what_holds_now(admin: AsyncClient) -> None:
    await admin.post(PATH, json={"tier": "standard", "price": amounts(1, 1, 1)})
    await admin.post(PATH, json={"tier": "standard", "price": amounts(2, 2, 2), "valid_from": later(days=3)})
    listed = (await admin.get(PATH)).json()["data"]
    assert [(each["price"]["input_micros_per_million_tokens"], each["in_force"]) for each in listed] == [
        (1, True),
        (2, False),
    ]


async def test_a_price_cannot_begin_in_the_past_but_a_clock_may_differ_a_little(admin: AsyncClient) -> None:
    refused = await admin.post(PATH, json={"tier": "standard", "price": amounts(), "valid_from": later(minutes=-5)})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "begins_in_the_past")
    sent = now()
    taken = await admin.post(PATH, json={"tier": "standard", "price": amounts(), "valid_from": later(seconds=-5)})
    assert taken.status_code == 201
    assert taken.json()["valid_from"] >= sent.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        ("9999-12-31T23:59:59.999999-12:00", "begins_too_late"),
        ("0001-01-01T00:00:00+14:00", "begins_in_the_past"),
        (10**18, "invalid_request"),
        ("soon", "invalid_request"),
    ],
)
async def test_a_moment_that_cannot_be_meant_is_refused(admin: AsyncClient, moment: object, code: str) -> None:
    refused = await admin.post(PATH, json={"tier": "standard", "price": amounts(), "valid_from": moment})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)


async def test_scheduling_what_holds_already_changes_nothing(admin: AsyncClient, owner: asyncpg.Connection) -> None:
    body = {"tier": "off_peak", "price": amounts(), "off_peak_from": "22:00", "off_peak_until": "06:30"}
    first, again = (await admin.post(PATH, json=body)).json(), (await admin.post(PATH, json=body)).json()
    assert again == first
    assert (first["off_peak_from"], first["off_peak_until"]) == ("22:00", "06:30")
    assert await owner.fetchval("SELECT count(*) FROM price_schedule") == 1


async def test_the_same_amounts_come_into_force_again_under_the_same_name(
    admin: AsyncClient, owner: asyncpg.Connection
) -> None:
    days = {1: 100, 2: 200, 3: 100}
    for day, amount in days.items():
        body = {"tier": "standard", "price": amounts(amount), "valid_from": later(days=day)}
        assert (await admin.post(PATH, json=body)).status_code == 201
    names = [each["price_version"] for each in (await admin.get(PATH)).json()["data"]]
    assert names[0] == names[2] != names[1]
    declared = (await admin.get(PATH)).json()["declared_price_version"]
    kept = await owner.fetch("SELECT price_version FROM price_version WHERE price_version LIKE $1 || '@%'", MODEL)
    assert {row["price_version"] for row in kept} == {names[0], names[1], declared}


async def test_what_the_declared_prices_mean_is_written_down_as_the_door_opens(
    client: AsyncClient, owner: asyncpg.Connection
) -> None:
    assert await owner.fetchval("SELECT output_picos FROM price_version WHERE model_id = $1", MODEL) == 2_000_000


async def test_batch_can_be_ended_and_standard_cannot(admin: AsyncClient) -> None:
    await admin.post(PATH, json={"tier": "batch", "price": amounts()})
    ended = await admin.post(PATH, json={"tier": "batch", "price": None})
    assert (ended.status_code, ended.json()["price"], ended.json()["price_version"]) == (201, None, None)
    refused = await admin.post(PATH, json={"tier": "standard", "price": None})
    assert refused.status_code == 400
    assert "always has a standard price" in refused.json()["error"]["message"]


async def test_a_model_that_the_catalogue_does_not_know_gets_no_price(admin: AsyncClient) -> None:
    refused = await admin.post("/v1/models/gpt-9/prices", json={"tier": "standard", "price": amounts()})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("field", ["input_micros_per_million_tokens", "output_micros_per_million_tokens"])
@pytest.mark.parametrize("value", [-1, 1.5, "7", None, 10**12 + 1])
async def test_an_amount_is_a_whole_number_within_bounds(admin: AsyncClient, field: str, value: object) -> None:
    refused = await admin.post(PATH, json={"tier": "standard", "price": {**amounts(1, 0, 1), field: value}})
    assert refused.status_code == 400
    assert field in refused.json()["error"]["message"]


async def test_who_scheduled_what_is_on_record(admin: AsyncClient, database: Callable[[str], Database]) -> None:
    posted = (await admin.post(PATH, json={"tier": "standard", "price": amounts()})).json()
    async with database("worker").across_tenants() as session:
        connection = await session.connection()
        rows = await connection.exec_driver_sql("SELECT body FROM audit_outbox WHERE kind = 'price.scheduled'")
        bodies = [row.body for row in rows]
    assert len(bodies) == 1
    assert bodies[0]["price_version"] == posted["price_version"]
    assert bodies[0]["price"] == amounts()
    assert bodies[0]["actor"]["role"] == "operator.admin"


@pytest.mark.parametrize(("role", "status"), [(Role.OPERATOR_SRE, 403), (Role.OPERATOR_BILLING, 201)])
async def test_prices_are_set_by_billing_and_not_by_those_who_run_the_machines(
    client: AsyncClient, token: Callable[..., Awaitable[str]], role: Role, status: int
) -> None:
    client.headers["authorization"] = f"Bearer {await token(role)}"
    assert (await client.get(PATH)).status_code == 200
    posted = await client.post(PATH, json={"tier": "standard", "price": amounts()})
    assert posted.status_code == status


@pytest.mark.parametrize("table", ["price_version", "price_schedule"])
async def test_not_even_the_owner_of_the_schema_changes_a_price(
    admin: AsyncClient, owner: asyncpg.Connection, table: str
) -> None:
    await admin.post(PATH, json={"tier": "standard", "price": amounts()})
    for statement in (f"UPDATE {table} SET created_at = now()", f"DELETE FROM {table}"):
        with pytest.raises(asyncpg.RaiseError, match="is immutable"):
            await owner.execute(statement)


async def test_the_database_takes_no_price_or_contract_that_begins_before_it_was_written(
    admin: AsyncClient, create_bank: Callable[..., Awaitable[dict[str, Any]]], owner: asyncpg.Connection
) -> None:
    await create_bank()
    await admin.post(PATH, json={"tier": "standard", "price": amounts()})
    past = "now() - interval '1 second', now(), 'token'"
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            "INSERT INTO price_schedule (model_id, tier, price_version, valid_from, created_at, created_by)"
            f" SELECT model_id, 'standard', price_version, {past} FROM price_version"
        )
    await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            "INSERT INTO contract (tenant_id, version, discount_basis_points, commitment_micros, pool_weight,"
            f" valid_from, created_at, created_by) SELECT 'bank-a', 1, 0, 0, 0, {past}"
        )


async def test_the_database_takes_no_version_whose_name_is_not_derived_from_its_amounts(
    owner: asyncpg.Connection, database: Callable[[str], Database]
) -> None:
    right = TokenPrice(f"{MODEL}@c88b782db8ee", MODEL, "CNY", 1_000_000, 1_000_000, 2_000_000)
    async with database("worker").across_tenants() as session:
        await price_service.register(session, [right])
        await price_service.register(session, [right])
        assert await price_service.price_versions(session, [right.price_version]) == {right.price_version: right}
    columns = "model_id, currency, input_picos, cached_input_picos, output_picos, created_at"
    for column, wrong in (("input_picos", "1000001"), ("output_picos", "1"), ("currency", "'EUR'")):
        changed = columns.replace(f" {column}", f" {wrong}")
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(
                f"INSERT INTO price_version (price_version, {columns})"
                f" SELECT price_version, {changed} FROM price_version"
            )


@pytest.mark.parametrize(
    "amount", [(0, 0, 0), (1, 1, 1), (10**12, 10**12, 10**12), (9_007_199_254_740_991, 0, 9_007_199_254_740_991)]
)
async def test_the_database_derives_the_same_names_as_the_catalogue(
    database: Callable[[str], Database], amount: tuple[int, int, int]
) -> None:
    price = TokenPrice("", MODEL, "JPY", *amount)
    named = price.discounted(1)
    async with database("operator").across_tenants() as session:
        await price_service.register(session, [named])
