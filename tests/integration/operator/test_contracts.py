"""Operators set contracts from a moment on and share what the pool costs; a tenant's payment changes at once."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from finpool.billing.contract import service as contract_service
from finpool.kernel.actor import Role
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId

PATH = "/v1/tenants/bank-a/contracts"
MONTH = now().strftime("%Y-%m")


def terms(discount=0, commitment=0, weight=0, **more):
    return {"discount_basis_points": discount, "commitment_micros": commitment, "pool_weight": weight, **more}


def later(**delta):
    return (now() + timedelta(**delta)).isoformat()


async def payment(database, tenant_id="bank-a"):
    async with database("operator").across_tenants() as session:
        return (await contract_service.own_contract(session, TenantId(tenant_id))).payment


async def test_without_a_contract_a_bank_pays_list_prices_after_the_month(admin, create_bank, database):
    await create_bank()
    assert (await admin.get(PATH)).json()["data"] == []
    async with database("operator").across_tenants() as session:
        own = await contract_service.own_contract(session, TenantId("bank-a"))
    assert (own.payment, own.discount_basis_points, own.commitment_micros, own.pool_weight) == ("postpaid", 0, 0, 0)


async def test_contracts_are_numbered_and_the_latest_comes_first(admin, create_bank):
    await create_bank()
    for discount, begins in ((500, None), (700, later(days=1)), (600, later(hours=1))):
        posted = await admin.post(PATH, json=terms(discount, valid_from=begins))
        assert posted.status_code == 201
    listed = (await admin.get(PATH)).json()["data"]
    assert [(each["version"], each["discount_basis_points"]) for each in listed] == [(2, 700), (3, 600), (1, 500)]


async def test_a_contract_that_holds_already_is_no_change(admin, create_bank):
    await create_bank()
    first = (await admin.post(PATH, json=terms(500))).json()
    assert (await admin.post(PATH, json=terms(500))).json() == first
    assert len((await admin.get(PATH)).json()["data"]) == 1


async def test_contracts_set_at_the_same_time_get_numbers_of_their_own(admin, create_bank):
    await create_bank()
    answers = await asyncio.gather(*(admin.post(PATH, json=terms(points)) for points in range(1, 6)))
    assert sorted(each.json()["version"] for each in answers) == [1, 2, 3, 4, 5]


async def test_a_contract_cannot_begin_in_the_past(admin, create_bank):
    await create_bank()
    refused = await admin.post(PATH, json=terms(valid_from=later(days=-1)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "begins_in_the_past")


async def test_payment_changes_at_once_and_never_at_a_later_moment(admin, create_bank, database):
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
async def test_a_contract_that_makes_no_sense_is_refused(admin, create_bank, body):
    await create_bank()
    assert (await admin.post(PATH, json=body)).status_code == 400
    assert (await admin.get(PATH)).json()["data"] == []


async def test_a_bank_that_does_not_exist_has_no_contract(admin):
    for answer in (await admin.get(PATH), await admin.post(PATH, json=terms())):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "tenant_not_found")


async def test_contracts_are_for_billing_alone(client, token, admin, create_bank):
    await create_bank()
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_SRE)}"
    for answer in (await client.get(PATH), await client.post(PATH, json=terms())):
        assert answer.status_code == 403
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_BILLING)}"
    assert (await client.post(PATH, json=terms())).status_code == 201


async def test_not_even_the_owner_of_the_schema_changes_a_contract(admin, create_bank, clean_postgres):
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


async def test_the_pools_cost_is_shared_to_the_cent_among_members(admin, create_bank, database):
    for bank, weight in (("bank-a", 600), ("bank-b", 300), ("bank-c", 0)):
        await create_bank(bank)
        await admin.post(f"/v1/tenants/{bank}/contracts", json=terms(weight=weight))
    missing = await admin.get(f"/v1/pool-costs/{MONTH}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "pool_cost_not_set")
    cost = {"amount_micros": 10_010_000, "equal_share_basis_points": 4_000}
    answer = (await admin.put(f"/v1/pool-costs/{MONTH}", json=cost)).json()
    fees = {each["tenant_id"]: each["fee_micros"] for each in answer["fees"]}
    assert fees == {"bank-a": 6_010_000, "bank-b": 4_000_000}
    assert (answer["currency"], answer["version"]) == ("CNY", 1)
    async with database("operator").across_tenants() as session:
        for bank, fee in (("bank-a", 6_010_000), ("bank-c", 0)):
            month = now().date()
            assert await contract_service.membership_fee_micros(session, TenantId(bank), month) == fee


async def test_a_members_weight_in_a_month_is_that_of_its_end(admin, create_bank):
    await create_bank()
    await create_bank("bank-b")
    await admin.post(PATH, json=terms(weight=1))
    await admin.post(PATH, json=terms(weight=0, valid_from=later(days=40)))
    await admin.post("/v1/tenants/bank-b/contracts", json=terms(weight=1, valid_from=later(days=40)))
    cost = {"amount_micros": 10_000, "equal_share_basis_points": 0}
    this_month, after = MONTH, (now() + timedelta(days=75)).strftime("%Y-%m")
    for month, members in ((this_month, ["bank-a"]), (after, ["bank-b"])):
        answer = (await admin.put(f"/v1/pool-costs/{month}", json=cost)).json()
        assert [each["tenant_id"] for each in answer["fees"]] == members


async def test_a_months_cost_set_again_is_a_new_version_and_the_old_one_stays(admin, clean_postgres):
    for amount in (10_000, 20_000, 20_000):
        body = {"amount_micros": amount, "equal_share_basis_points": 0}
        answer = (await admin.put("/v1/pool-costs/2026-11", json=body)).json()
    assert (answer["version"], answer["amount_micros"], answer["fees"]) == (2, 20_000, [])
    owner = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        assert await owner.fetchval("SELECT array_agg(amount_micros ORDER BY version) FROM pool_cost") == [
            10_000,
            20_000,
        ]
    finally:
        await owner.close()


async def test_a_months_cost_is_a_whole_number_of_the_smallest_coin(admin):
    body = {"amount_micros": 10_001, "equal_share_basis_points": 0}
    refused = await admin.put("/v1/pool-costs/2026-11", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_a_whole_amount")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "1999-01", "november"])
async def test_a_month_is_a_year_and_a_month(admin, month):
    assert (await admin.get(f"/v1/pool-costs/{month}")).status_code == 400


async def test_without_terms_of_service_a_bank_is_served_as_any_other(admin, create_bank):
    await create_bank()
    contract = (await admin.post(PATH, json=terms())).json()
    assert (contract["service_weight"], contract["service_share_min_basis_points"]) == (1, 0)


async def test_guaranteed_shares_never_pass_the_whole_together(admin, create_bank):
    for name in ("bank-a", "bank-b", "bank-c", "bank-d"):
        await create_bank(name)

    def share(basis_points, **more):
        return terms(service_share_min_basis_points=basis_points, **more)

    async def agree(name, body):
        return await admin.post(f"/v1/tenants/{name}/contracts", json=body)

    assert (await agree("bank-a", share(6_000))).status_code == 201
    assert (await agree("bank-b", share(4_000, valid_from=later(days=1)))).status_code == 201
    refused = await agree("bank-c", share(1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "shares_overcommitted")
    # A bank's own guarantee is replaced, not added to, and what it gives up is there for others.
    assert (await agree("bank-a", share(5_000))).status_code == 201
    answers = await asyncio.gather(*(agree(name, share(1_000)) for name in ("bank-c", "bank-d")))
    assert sorted(each.status_code for each in answers) == [201, 400]


async def test_a_commitment_holds_for_whole_months_only(admin, create_bank, database):
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


async def test_who_agreed_what_is_on_record(admin, create_bank, database):
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
