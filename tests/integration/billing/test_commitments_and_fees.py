"""Minimum commitments and the shares of the pool's fixed cost, also when usage or costs come late."""

from datetime import UTC, date, datetime
from typing import Any

from finpool.billing.contract.models import Contract
from finpool.billing.contract.schemas import NewPoolCost
from finpool.billing.contract.service import set_pool_cost
from finpool.kernel.actor import Actor, Audience, Role

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def of_kind(invoice: Any, kind: str) -> list[tuple[int, int, bool]]:
    """Return month, units of the currency, and whether it is a correction, of each line of a kind."""
    return [
        (line.charge_start.month, line.amount_micros // 10**6, line.correction)
        for line in invoice.lines
        if line.kind == kind
    ]


def three_units(times: int) -> tuple[int, int, int]:
    """Return tokens of model-x that cost three units of the currency, several times."""
    return (0, 0, 5_000_000 * times)


async def agree(bank: Any, valid_from: datetime, **terms: int) -> None:
    """Agree terms that hold from a moment in the past on, which no operator could."""
    plain: dict[str, Any] = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0}
    async with bank.operator() as session:
        session.add(
            Contract(
                tenant_id=bank.tenant_id,
                version=1,
                valid_from=valid_from,
                created_at=valid_from,
                created_by="test",
                **(plain | terms),
            )
        )


async def set_cost(bank: Any, month: int, units: int) -> None:
    body = NewPoolCost(amount_micros=units * 10**6, equal_share_basis_points=10_000)
    async with bank.operator() as session:
        await set_pool_cost(session, OPERATOR, date(2025, month, 1), "EUR", body)


async def test_a_month_below_the_commitment_is_charged_the_difference(bank: Any, use: Any, at: Any) -> None:
    await agree(bank, SINCE, commitment_micros=10 * 10**6)
    await bank.record([use(at(1), tokens=three_units(1)), use(at(2), tokens=three_units(4))])
    invoice = await bank.issued("2025-03")
    assert of_kind(invoice, "usage") == [(1, 3, False), (2, 12, False)]
    assert of_kind(invoice, "commitment") == [(1, 7, False), (3, 10, False)]
    assert (await bank.balances())["fees"] == -17 * 10**12


async def test_a_month_that_began_before_the_contract_has_no_commitment(bank: Any, at: Any) -> None:
    await agree(bank, at(1, 2), commitment_micros=10 * 10**6)
    assert of_kind(await bank.issued("2025-02"), "commitment") == [(2, 10, False)]


async def test_late_usage_takes_back_what_it_makes_up_for_of_a_commitment(bank: Any, use: Any, at: Any) -> None:
    await agree(bank, SINCE, commitment_micros=10 * 10**6)
    await bank.record([use(at(1), tokens=three_units(2))])
    assert of_kind(await bank.issued("2025-01"), "commitment") == [(1, 4, False)]
    await bank.record([use(at(1, 30), tokens=three_units(1)), use(at(2), tokens=three_units(9))])
    february = await bank.issued("2025-02")
    assert of_kind(february, "usage") == [(2, 27, False), (1, 3, True)]
    assert of_kind(february, "commitment") == [(1, -3, True)]
    await bank.record([use(at(1, 31), tokens=three_units(5)), use(at(3), tokens=three_units(9))])
    march = await bank.issued("2025-03")
    assert of_kind(march, "commitment") == [(1, -1, True)]


async def test_a_credited_dispute_does_not_come_back_as_commitment(bank: Any, use: Any, at: Any) -> None:
    await agree(bank, SINCE, commitment_micros=3 * 10**6)
    (request,) = await bank.record([use(at(1), tokens=three_units(1))])
    await bank.adjust(-3 * 10**12, kind="dispute", request_id=request, recorded_at=at(1))
    invoice = await bank.issued("2025-01")
    assert of_kind(invoice, "commitment") == []
    assert of_kind(invoice, "credit") == [(1, -3, True)]
    assert invoice.net_micros == 0


async def test_members_share_the_pools_cost_and_others_pay_nothing(open_bank: Any, bank: Any) -> None:
    other, outsider = await open_bank("bank-b"), await open_bank("bank-c")
    for member in (bank, other):
        await agree(member, SINCE, pool_weight=1)
    await set_cost(bank, 1, 90)
    fees = [of_kind(await each.issued("2025-01"), "membership") for each in (bank, other, outsider)]
    assert fees == [[(1, 45, False)], [(1, 45, False)], []]


async def test_a_cost_that_is_set_or_changed_late_is_charged_by_the_next_invoice(bank: Any) -> None:
    await agree(bank, SINCE, pool_weight=1)
    await set_cost(bank, 1, 90)
    assert of_kind(await bank.issued("2025-02"), "membership") == [(1, 90, False)]
    await set_cost(bank, 1, 80)
    await set_cost(bank, 2, 50)
    await set_cost(bank, 3, 40)
    march = await bank.issued("2025-03")
    assert of_kind(march, "membership") == [(1, -10, True), (2, 50, True), (3, 40, False)]
    assert of_kind(await bank.issued("2025-04"), "membership") == []
