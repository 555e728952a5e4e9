"""Invoices over real usage: what is in which, and that they add up."""

from datetime import UTC, datetime
from typing import Any


def at(month: int, day: int = 10) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


async def test_late_usage_goes_to_the_next_invoice_as_a_correction(bank: Any, use: Any) -> None:
    await bank.record([use(at(1)), use(at(1, 20), model="model-y", project="treasury"), use(at(2))])
    january = await bank.issued("2026-01")
    assert (january.number, january.status) == ("INV-2026-000001", "issued")
    assert {line.correction for line in january.lines} == {False}
    assert (
        sum(line.amount_picos for line in january.lines)
        == use(at(1)).cost_picos + use(at(1), model="model-y").cost_picos
    )
    await bank.record([use(at(1, 31), tokens=(10, 0, 0)), use(at(2, 2))])
    february = await bank.issued("2026-02")
    late = [line for line in february.lines if line.correction]
    assert [(line.quantity_tokens, line.token_kind, line.charge_start.month) for line in late] == [(10, "input", 1)]
    assert [(line.token_kind, line.quantity_tokens) for line in february.lines if not line.correction] == [
        ("input", 120_000_000),
        ("cached_input", 80_000_000),
        ("output", 40_000_000),
    ]
    assert (february.period_start, february.period_end) == (january.period_end, datetime(2026, 3, 1, tzinfo=UTC))
