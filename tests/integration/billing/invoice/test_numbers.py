"""Each bank's invoices have numbers of their own."""

from typing import Any

from sqlalchemy import text

from finpool.kernel.clock import now


async def test_the_numbers_of_a_bank_say_nothing_about_other_banks(
    bank: Any, open_bank: Any, use: Any, at: Any
) -> None:
    other = await open_bank("bank-b")
    async with bank.operator() as session:
        # The series of all banks, as it was kept before.
        await session.execute(text(f"INSERT INTO invoice_series VALUES ('INV-{now():%Y}', 7)"))
    numbers: dict[str, list[str]] = {"bank-a": [], "bank-b": []}
    for month, each in ((1, bank), (1, other), (2, bank), (3, bank), (2, other)):
        await each.record([use(at(month))])
        numbers[each.tenant_id].append((await each.issued(f"2025-{month:02d}")).number)
    year = f"{now():%Y}"
    assert numbers["bank-a"] == [f"INV-bank-a-{year}-00000{number}" for number in (1, 2, 3)]
    assert numbers["bank-b"] == [f"INV-bank-b-{year}-00000{number}" for number in (1, 2)]
