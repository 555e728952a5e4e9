"""Minimum commitments of contracts, also when usage comes late."""

from datetime import UTC, datetime
from typing import Any

from billing_bank import of_kind

SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def three_units(times: int) -> tuple[int, int, int]:
    """Return tokens of model-x that cost three units of the currency, several times."""
    return (0, 0, 5_000_000 * times)


async def test_a_month_below_the_commitment_is_charged_the_difference(bank: Any, use: Any, at: Any) -> None:
    await bank.agree(SINCE, commitment_micros=10 * 10**6)
    await bank.record([use(at(1), tokens=three_units(1)), use(at(2), tokens=three_units(4))])
    invoice = await bank.issued("2025-03")
    assert of_kind(invoice, "usage") == [(1, 3, False), (2, 12, False)]
    assert of_kind(invoice, "commitment") == [(1, 7, False), (3, 10, False)]
    assert (await bank.balances())["fees"] == -17 * 10**12


async def test_a_month_that_began_before_the_contract_has_no_commitment(bank: Any, at: Any) -> None:
    await bank.agree(at(1, 2), commitment_micros=10 * 10**6)
    assert of_kind(await bank.issued("2025-02"), "commitment") == [(2, 10, False)]


async def test_late_usage_takes_back_what_it_makes_up_for_of_a_commitment(bank: Any, use: Any, at: Any) -> None:
    await bank.agree(SINCE, commitment_micros=10 * 10**6)
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
    await bank.agree(SINCE, commitment_micros=3 * 10**6)
    (request,) = await bank.record([use(at(1), tokens=three_units(1))])
    await bank.adjust(-3 * 10**12, kind="dispute", request_id=request, recorded_at=at(1))
    invoice = await bank.issued("2025-01")
    assert of_kind(invoice, "commitment") == []
    assert of_kind(invoice, "credit") == [(1, -3, True)]
    assert invoice.net_micros == 0
