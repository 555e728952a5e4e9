"""A bank reads its own contract and prices, never another's."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import text
from usage_doors import Doors

from finpool.billing.contract import service as contract_service
from finpool.billing.contract.schemas import NewContract
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price import service as price_service
from finpool.catalogue.price.schemas import Amounts, NewScheduledPrice, Tier, TokenPrice
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
CONTRACT, PRICES = "/v1/organization/contract", "/v1/organization/prices"


@pytest.fixture
def agree(database: Callable[[str], Database]) -> Callable[..., Awaitable[None]]:
    """Set a contract as an operator does: `await agree("bank-a", discount_basis_points=500)`."""

    async def agreed(tenant_id: str, **terms: Any) -> None:
        plain = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0}
        async with database("operator").across_tenants() as session:
            body = NewContract.model_validate(plain | terms)
            await contract_service.set_contract(session, OPERATOR, TenantId(tenant_id), body)

    return agreed


async def read(doors: Doors, who: str, path: str) -> Response:
    async with doors.tenant(who) as client:
        return await client.get(path)


async def prices_of(doors: Doors, who: str) -> list[dict[str, Any]]:
    """Return the prices of the chat model alone."""
    listed: list[dict[str, Any]] = (await read(doors, who, PRICES)).json()["data"]
    return [each for each in listed if each["model"] == MODEL.id]


async def test_a_bank_reads_its_contract_and_what_was_agreed_for_later(
    doors: Doors, agree: Callable[..., Awaitable[None]]
) -> None:
    begins = now() + timedelta(days=3)
    await agree("bank-a", discount_basis_points=500, commitment_micros=7, pool_weight=11)
    await agree("bank-a", discount_basis_points=900, valid_from=begins)
    await agree("bank-a", discount_basis_points=950, valid_from=begins)
    answer = (await read(doors, "bank-a/finance", CONTRACT)).json()
    assert {
        name: answer[name] for name in ("payment", "discount_basis_points", "commitment_micros", "pool_weight")
    } == {
        "payment": "postpaid",
        "discount_basis_points": 500,
        "commitment_micros": 7,
        "pool_weight": 11,
    }
    assert [each["discount_basis_points"] for each in answer["upcoming"]] == [950]


async def test_a_bank_cannot_read_anothers_contract_or_prices(
    doors: Doors, agree: Callable[..., Awaitable[None]]
) -> None:
    await agree("bank-b", discount_basis_points=5_000, commitment_micros=7, pool_weight=11, payment="prepaid")
    contract = (await read(doors, "bank-a/owner", CONTRACT)).json()
    assert (contract["payment"], contract["discount_basis_points"], contract["pool_weight"]) == ("postpaid", 0, 0)
    assert (contract["valid_from"], contract["upcoming"]) == (None, [])
    (mine,), (others,) = [await prices_of(doors, f"{bank}/owner") for bank in ("bank-a", "bank-b")]
    assert mine["price_version"] == MODEL.price_version
    assert others["input_micros_per_million_tokens"] * 2 == mine["input_micros_per_million_tokens"]


async def test_a_bank_sees_each_tier_it_can_have_and_until_when_the_price_is_known_to_hold(
    doors: Doors, agree: Callable[..., Awaitable[None]], database: Callable[[str], Database]
) -> None:
    ends = now() + timedelta(days=2)
    amounts = Amounts(
        input_micros_per_million_tokens=100,
        cached_input_micros_per_million_tokens=50,
        output_micros_per_million_tokens=333,
    )
    async with database("operator").across_tenants() as session:
        for body in (
            NewScheduledPrice(tier=Tier.BATCH, price=amounts),
            NewScheduledPrice(tier=Tier.BATCH, price=None, valid_from=ends),
        ):
            await price_service.schedule_price(session, OPERATOR, MODEL, body)
    await agree("bank-a", discount_basis_points=1_000)
    standard, batch = await prices_of(doors, "bank-a/finance")
    assert (standard["tier"], standard["service_tier"], standard["until"]) == ("standard", "default", None)
    assert (batch["tier"], batch["service_tier"]) == ("batch", "flex")
    assert batch["until"] == ends.isoformat().replace("+00:00", "Z")
    kinds = ("input", "cached_input", "output")
    assert [batch[f"{kind}_micros_per_million_tokens"] for kind in kinds] == [90, 45, 299]


async def test_a_bank_sees_prices_of_the_models_of_its_contract_only(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    async with database("operator").across_tenants() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE tenant SET models = '{}' WHERE tenant_id = 'bank-a'")
    assert (await read(doors, "bank-a/owner", PRICES)).json()["data"] == []
    shown = [each["model"] for each in (await read(doors, "bank-b/owner", PRICES)).json()["data"]]
    assert sorted(shown) == sorted(model.id for model in Catalogue.load(default_directory()).all())


@pytest.mark.parametrize("path", [CONTRACT, PRICES])
async def test_a_developers_key_reads_neither_contract_nor_prices_of_the_organisation(doors: Doors, path: str) -> None:
    refused = await read(doors, "bank-a/developer", path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


async def test_a_banks_session_reads_general_prices_and_its_own_and_no_discount_of_another(
    database: Callable[[str], Database], used: Callable[..., Any], record: Callable[..., Any]
) -> None:
    price = Amounts(**MODEL.price.model_dump(exclude={"currency"}))
    async with database("operator").across_tenants() as session:
        await price_service.schedule_price(
            session, OPERATOR, MODEL, NewScheduledPrice(tier=Tier.STANDARD, price=price, valid_from=None)
        )
    listed = TokenPrice.of(MODEL.id, MODEL.price)
    paid = {TenantId("bank-a"): listed.discounted(500), TenantId("bank-b"): listed.discounted(900)}
    async with database("worker").across_tenants() as session:
        await price_service.register(session, paid.values())
    await record([used(bank, now(), price_version=price.price_version) for bank, price in paid.items()])
    for bank, own in paid.items():
        async with database("tenant").for_tenant(bank) as session:
            seen = set((await session.execute(text("SELECT price_version FROM price_version"))).scalars())
        assert seen == {listed.price_version, own.price_version}
