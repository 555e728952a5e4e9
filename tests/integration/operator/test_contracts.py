"""Operators set contracts from a moment on and share what the pool costs; a tenant's payment changes at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from httpx2 import AsyncClient, Response

from finpool.billing.contract import service as contract_service
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.quota.schemas import PaymentTerms

CreateBank = Callable[..., Awaitable[dict[str, Any]]]
OpenDatabase = Callable[[str], Database]

PATH = "/v1/tenants/bank-a/contracts"
MONTH = now().strftime("%Y-%m")


def terms(discount: float = 0, commitment: int = 0, weight: int = 0, **more: Any) -> dict[str, Any]:
    return {"discount_basis_points": discount, "commitment_micros": commitment, "pool_weight": weight, **more}


def later(**delta: float) -> str:
    return (now() + timedelta(**delta)).isoformat()


async def payment(database: OpenDatabase, tenant_id: str = "bank-a") -> PaymentTerms:
    async with database("operator").across_tenants() as session:
        return (await contract_service.own_contract(session, TenantId(tenant_id))).payment


async def test_without_a_contract_a_bank_pays_list_prices_after_the_month(
    admin: AsyncClient, create_bank: CreateBank, database: OpenDatabase
) -> None:
    await create_bank()
    assert (await admin.get(PATH)).json()["data"] == []
    async with database("operator").across_tenants() as session:
        own = await contract_service.own_contract(session, TenantId("bank-a"))
    assert (own.payment, own.discount_basis_points, own.commitment_micros, own.pool_weight) == ("postpaid", 0, 0, 0)


async def test_contracts_are_numbered_and_the_latest_comes_first(admin: AsyncClient, create_bank: CreateBank) -> None:
    await create_bank()
    for discount, begins in ((500, None), (700, later(days=1)), (600, later(hours=1))):
        posted = await admin.post(PATH, json=terms(discount, valid_from=begins))
        assert posted.status_code == 201
    listed = (await admin.get(PATH)).json()["data"]
    assert [(each["version"], each["discount_basis_points"]) for each in listed] == [(2, 700), (3, 600), (1, 500)]


async def test_a_contract_that_holds_already_is_no_change(admin: AsyncClient, create_bank: CreateBank) -> None:
    await create_bank()
    first = (await admin.post(PATH, json=terms(500))).json()
    assert (await admin.post(PATH, json=terms(500))).json() == first
    assert len((await admin.get(PATH)).json()["data"]) == 1


async def test_contracts_set_at_the_same_time_get_numbers_of_their_own(
    admin: AsyncClient, create_bank: CreateBank
) -> None:
    await create_bank()
    answers = await asyncio.gather(*(admin.post(PATH, json=terms(points)) for points in range(1, 6)))
    assert sorted(each.json()["version"] for each in answers) == [1, 2, 3, 4, 5]


async def test_a_contract_cannot_begin_in_the_past(admin: AsyncClient, create_bank: CreateBank) -> None:
    await create_bank()
    refused = await admin.post(PATH, json=terms(valid_from=later(days=-1)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "begins_in_the_past")


async def test_payment_changes_at_once_and_never_at_a_later_moment(
    admin: AsyncClient, create_bank: CreateBank, database: OpenDatabase
) -> None:
    await create_bank()
    refused = await admin.post(PATH, json=terms(payment="prepaid", valid_from=later(days=1)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "payment_changes_at_once")
    assert await payment(database) == "postpaid"
    assert (await admin.post(PATH, json=terms(payment="prepaid"))).json()["payment"] == "prepaid"
    assert await payment(database) == "prepaid"
    kept = await admin.post(PATH, json=terms(500, valid_from=later(days=1), payment="prepaid"))
    assert (kept.status_code, kept.json()["payment"]) == (201, None)
    assert await payment(database) == "prepaid"


@pytest.mark.parametrize(
    "body",
    [
        {"discount_basis_points": 500},
        terms(10_001),
        terms(-1),
        terms(1.5),
        terms(commitment=-1),
        terms(weight=-1),
        terms(payment="credit"),
        terms(valid_from="2099-01-01T00:00:00"),
        terms(surprise=1),
    ],
)
async def test_a_contract_that_makes_no_sense_is_refused(
    admin: AsyncClient, create_bank: CreateBank, body: dict[str, Any]
) -> None:
    await create_bank()
    assert (await admin.post(PATH, json=body)).status_code == 400
    assert (await admin.get(PATH)).json()["data"] == []


async def test_a_bank_that_does_not_exist_has_no_contract(admin: AsyncClient) -> None:
    for answer in (await admin.get(PATH), await admin.post(PATH, json=terms())):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "tenant_not_found")


async def test_contracts_are_for_billing_alone(
    client: AsyncClient,
    token: Callable[..., Awaitable[str]],
    admin: AsyncClient,
    create_bank: CreateBank,
) -> None:
    await create_bank()
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_SRE)}"
    for answer in (await client.get(PATH), await client.post(PATH, json=terms())):
        assert answer.status_code == 403
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_BILLING)}"
    assert (await client.post(PATH, json=terms())).status_code == 201


async def test_not_even_the_owner_of_the_schema_changes_a_contract(
    admin: AsyncClient, create_bank: CreateBank, clean_postgres: EmbeddedPostgres
) -> None:
    await create_bank()
    await admin.post(PATH, json=terms(500))
    owner = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
        for statement in ("UPDATE contract SET discount_basis_points = 0", "DELETE FROM contract"):
            with pytest.raises(asyncpg.RaiseError, match="is immutable"):
                await owner.execute(statement)
    finally:
        await owner.close()


async def test_without_terms_of_service_a_bank_is_served_as_any_other(
    admin: AsyncClient, create_bank: CreateBank
) -> None:
    await create_bank()
    contract = (await admin.post(PATH, json=terms())).json()
    assert (contract["service_weight"], contract["service_share_min_basis_points"]) == (1, 0)


async def test_guaranteed_shares_never_pass_the_whole_together(admin: AsyncClient, create_bank: CreateBank) -> None:
    for name in ("bank-a", "bank-b", "bank-c", "bank-d"):
        await create_bank(name)

    def share(basis_points: int, **more: Any) -> dict[str, Any]:
        return terms(service_share_min_basis_points=basis_points, **more)

    async def agree(name: str, body: dict[str, Any]) -> Response:
        return await admin.post(f"/v1/tenants/{name}/contracts", json=body)

    assert (await agree("bank-a", share(6_000))).status_code == 201
    assert (await agree("bank-b", share(4_000, valid_from=later(days=1)))).status_code == 201
    refused = await agree("bank-c", share(1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "shares_overcommitted")
    # A bank's own guarantee is replaced, not added to, and its former part is free for others.
    assert (await agree("bank-a", share(5_000))).status_code == 201
    answers = await asyncio.gather(*(agree(name, share(1_000)) for name in ("bank-c", "bank-d")))
    assert sorted(each.status_code for each in answers) == [201, 400]


async def test_a_commitment_holds_for_whole_months_only(
    admin: AsyncClient, create_bank: CreateBank, database: OpenDatabase
) -> None:
    await create_bank()
    await admin.post(PATH, json=terms(commitment=7_000_000))
    this_month = now().date()
    next_month = contract_service.month_end(this_month).date()
    async with database("operator").across_tenants() as session:
        commitments = [
            await contract_service.commitment_micros(session, TenantId("bank-a"), month)
            for month in (this_month, next_month)
        ]
    assert commitments == [0, 7_000_000]


async def test_who_agreed_what_is_on_record(
    admin: AsyncClient, create_bank: CreateBank, database: OpenDatabase
) -> None:
    await create_bank()
    await admin.post(PATH, json=terms(500, 10, 20, payment="prepaid"))
    await admin.put(f"/v1/pool-costs/{MONTH}", json={"amount_micros": 10_000, "equal_share_basis_points": 2})
    async with database("worker").across_tenants() as session:
        connection = await session.connection()
        rows = await connection.exec_driver_sql(
            "SELECT kind, tenant_id, body FROM audit_outbox WHERE kind IN ('contract.set', 'pool_cost.set')"
        )
        events = {row.kind: (row.tenant_id, row.body) for row in rows}
    tenant_id, body = events["contract.set"]
    assert (tenant_id, body["payment"], body["discount_basis_points"], body["version"]) == ("bank-a", "prepaid", 500, 1)
    assert body["actor"]["role"] == "operator.admin"
    assert events["pool_cost.set"][0] is None
