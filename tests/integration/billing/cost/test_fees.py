"""The members' shares of the pool's fixed cost, also when a cost comes late."""

from datetime import UTC, date, datetime
from typing import Any

from billing_bank import of_kind

from finpool.billing.contract.schemas import NewPoolCost
from finpool.billing.contract.service import set_pool_cost
from finpool.kernel.actor import Actor, Audience, Role

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
SINCE = datetime(2025, 1, 1, tzinfo=UTC)


async def set_cost(bank: Any, month: int, units: int) -> None:
    body = NewPoolCost(amount_micros=units * 10**6, equal_share_basis_points=10_000)
    async with bank.operator() as session:
        await set_pool_cost(session, OPERATOR, date(2025, month, 1), "EUR", body)


async def test_members_share_the_pools_cost_and_others_pay_nothing(open_bank: Any, bank: Any) -> None:
    other, outsider = await open_bank("bank-b"), await open_bank("bank-c")
    for member in (bank, other):
        await member.agree(SINCE, pool_weight=1)
    await set_cost(bank, 1, 90)
    fees = [of_kind(await each.issued("2025-01"), "membership") for each in (bank, other, outsider)]
    assert fees == [[(1, 45, False)], [(1, 45, False)], []]


async def test_a_cost_that_is_set_or_changed_late_is_charged_by_the_next_invoice(bank: Any) -> None:
    await bank.agree(SINCE, pool_weight=1)
    await set_cost(bank, 1, 90)
    assert of_kind(await bank.issued("2025-02"), "membership") == [(1, 90, False)]
    await set_cost(bank, 1, 80)
    await set_cost(bank, 2, 50)
    await set_cost(bank, 3, 40)
    march = await bank.issued("2025-03")
    assert of_kind(march, "membership") == [(1, -10, True), (2, 50, True), (3, 40, False)]
    assert of_kind(await bank.issued("2025-04"), "membership") == []
