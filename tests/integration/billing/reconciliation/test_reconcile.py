"""A reconciliation finds nothing in correct books, and names every fault of others."""

import asyncio
from typing import Any

import pytest

from finpool.billing.reconciliation.schemas import EngineCounts
from finpool.kernel.ids import TenantId
from finpool.metering.spool.schemas import Outcome

TOKENS = ((1_234_567, 1_000, 765_432), (10, 0, 1), (777, 777, 0))


@pytest.fixture
async def books(world: Any) -> Any:
    """A bank with usage, an issued invoice, late usage, a credit note and an invoice that corrects."""
    await world.serve(TOKENS)
    await world.serve([(100, 0, 7)], project="treasury")
    await world.sequence()
    await world.credit(await world.invoice())
    await world.serve([(5_000_000, 0, 2_000_000)])
    return world


async def test_nothing_differs_where_nothing_is_wrong(books: Any) -> None:
    result = await books.reconcile()
    assert result.differences == ()
    (bank,) = result.tenants
    assert bank.requests == 5
    assert bank.used_picos == bank.logged_picos == bank.recorded_picos == bank.posted_picos == bank.ledger_picos
    assert bank.documents == 2
    assert bank.invoiced_micros == bank.exported_micros == 0
    assert 0 < bank.unbilled_picos < bank.used_picos


async def test_failed_requests_and_other_tenants_are_in_it(books: Any) -> None:
    await books.add_bank(TenantId("bank-b"), "Second Bank")
    await books.serve([(50, 0, 50)], outcome=Outcome.FAILED)
    await books.serve([(50, 0, 50)], tenant_id=TenantId("bank-b"))
    assert (await books.reconcile()).differences == ()
    only_b = await books.reconcile(tenant_id=TenantId("bank-b"))
    assert [each.tenant_id for each in only_b.tenants] == ["bank-b"]


async def test_while_usage_is_recorded_and_logged_it_sees_one_moment(books: Any) -> None:
    async def keep_serving() -> None:
        while True:
            await books.serve([(10, 0, 1), (20, 5, 2)])
            await books.sequence()

    serving = asyncio.create_task(keep_serving())
    seen: set[Any] = set()
    try:
        async with asyncio.timeout(120):
            while len(seen) < 4:
                assert not serving.done(), serving.exception()
                result = await books.reconcile()
                assert result.differences == ()
                seen.add(result.tenants[0].requests)
    finally:
        serving.cancel()
        await asyncio.wait([serving])


USAGE = ("log", "usage")
PLANTED = {
    "a posted counter of the account": (
        "UPDATE account SET posted_picos = posted_picos + 1",
        {("usage", "account"): "posted", ("account", "ledger"): "revenue"},
    ),
    "a posted counter of a budget": (
        "UPDATE budget SET posted_picos = posted_picos - 1",
        {("lease", "budget"): "posted", ("budget", "ledger"): "posted"},
    ),
    "a pending counter": (
        "UPDATE budget SET pending_picos = pending_picos + 5",
        {("lease", "budget"): "pending", ("budget", "ledger"): "pending"},
    ),
    "a lease that says it spent less": (
        "UPDATE lease SET spent_picos = spent_picos - 1",
        {("usage", "lease"): "lease_0", ("lease", "ledger"): "lease_0"},
    ),
    "a lost usage row": (
        "DELETE FROM usage_record WHERE request_id = 'req_2'",
        {USAGE: "req_2", ("account", "usage"): "usage number 2", ("usage", "invoice"): "input"},
    ),
    "a doubled usage row": (
        "INSERT INTO usage_record SELECT (jsonb_populate_record(usage_record, "
        """'{"request_id": "req_9", "usage_seq": 6}')).* FROM usage_record WHERE request_id = 'req_1'""",
        {USAGE: "req_9", ("account", "usage"): "usage number 6", ("usage", "account"): "posted"},
    ),
    "a usage row with fewer tokens": (
        "UPDATE usage_record SET output_tokens = output_tokens - 1 WHERE request_id = 'req_1'",
        {USAGE: "req_1", ("price", "usage"): "req_1"},
    ),
    "a usage row that costs too much": (
        "UPDATE usage_record SET cost_picos = cost_picos + 1 WHERE request_id = 'req_1'",
        {USAGE: "req_1", ("price", "usage"): "req_1", ("usage", "account"): "posted"},
    ),
    "a usage row that bills another operation": (
        "UPDATE usage_record SET operation = 'embeddings' WHERE request_id = 'req_1'",
        {USAGE: "req_1"},
    ),
    "a missing transfer of usage": (
        "DELETE FROM transfer WHERE kind = 'usage' AND occurred_at = (SELECT max(occurred_at) FROM transfer)",
        {
            ("account", "ledger"): "revenue",
            ("usage", "ledger"): "records and transfer of spool_",
            ("budget", "ledger"): "posted",
            ("lease", "ledger"): "lease_0",
        },
    ),
    "a transfer of usage that is smaller": (
        "UPDATE transfer SET amounts_picos = ARRAY(SELECT a - sign(a) FROM unnest(amounts_picos) a) "
        "WHERE kind = 'usage' AND reference LIKE '%/1-3'",
        {("usage", "ledger"): "/1-3", ("account", "ledger"): "unbilled"},
    ),
    "a transfer that was booked twice": (
        "INSERT INTO transfer SELECT (jsonb_populate_record(transfer, "
        """'{"transfer_id": "transfer_twice"}')).* FROM transfer WHERE kind = 'invoice'""",
        {("invoice", "ledger"): "INV-", ("usage", "ledger"): "in no invoice"},
    ),
    "an invoice that was never booked": (
        "DELETE FROM transfer WHERE kind = 'invoice'",
        {("invoice", "ledger"): "receivable", ("usage", "ledger"): "in no invoice"},
    ),
    "a payment in advance that was never booked": (
        "INSERT INTO payment VALUES ('bank-a', 'pay_1', NULL, 'wire 1', 1000000, 'test', now())",
        {("payment", "ledger"): "prepaid"},
    ),
    "a transfer to an account that does not exist": (
        "UPDATE transfer SET accounts = array_replace(accounts, 'unbilled', 'unbiled') WHERE kind = 'credit_note' OR "
        "kind = 'invoice'",
        {("ledger", "ledger"): "unbiled"},
    ),
    "a line with fewer tokens": (
        "UPDATE invoice_line SET quantity_tokens = quantity_tokens - 1, amount_picos = amount_picos - unit_picos "
        "WHERE token_kind = 'output' AND project_id = 'credit'",
        {("usage", "invoice"): "output", ("invoice", "ledger"): "unbilled"},
    ),
    "a line that is rounded wrongly": (
        "UPDATE invoice_line SET amount_micros = amount_micros + 10000 WHERE token_kind = 'output'",
        {("invoice", "invoice"): "amount in micros", ("invoice", "export"): "total"},
    ),
    "an invoice whose total is not that of its lines": (
        "UPDATE invoice SET net_micros = net_micros + 10000, total_micros = total_micros + 10000 WHERE number ~ '^INV'",
        {("invoice", "invoice"): "total", ("invoice", "export"): "total", ("invoice", "ledger"): "receivable"},
    ),
    "an invoice that cuts elsewhere": (
        "UPDATE invoice SET cut_seq = cut_seq - 1 WHERE cut_seq IS NOT NULL",
        {("usage", "invoice"): "treasury", ("usage", "ledger"): "in no invoice"},
    ),
    "an issued invoice that is gone": (
        "WITH lines AS (DELETE FROM invoice_line WHERE kind = 'credit') DELETE FROM invoice WHERE kind = 'credit_note'",
        {("invoice", "invoice"): "CN-", ("invoice", "ledger"): "credit_note CN-"},
    ),
}


async def test_each_planted_difference_is_found_and_named(books: Any, subtests: pytest.Subtests) -> None:
    for fault, (change, expected) in PLANTED.items():
        with subtests.test(fault):
            async with books.tampered(change):
                found = (await books.reconcile()).differences
            for stages, subject in expected.items():
                named = [each.subject for each in found if (each.left, each.right) == stages]
                assert any(subject in each for each in named), (stages, subject, found)
    assert (await books.reconcile()).differences == ()


async def test_what_engines_counted_by_themselves_is_compared_by_model(books: Any) -> None:
    used = {"fin-7b": EngineCounts(input_tokens=6_235_454, output_tokens=2_765_440)}
    result = await books.reconcile(used)
    assert (result.engines, result.differences) == ("counters", ())
    more = {"fin-7b": EngineCounts(input_tokens=6_235_454, output_tokens=2_765_441)}
    (difference,) = (await books.reconcile(more)).differences
    assert (difference.left, difference.right, difference.subject) == ("engine", "usage", "model fin-7b")
