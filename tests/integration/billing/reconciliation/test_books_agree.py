"""The books agree after each kind of booking: corrections, disputes, lost spools, payments, prepaid accounts."""

from typing import Any

import pytest

from finpool.billing.dispute.schemas import DisputeAnswerBody, NewDispute
from finpool.billing.dispute.service import answer_dispute, open_dispute
from finpool.billing.payment.schemas import NewPayment
from finpool.billing.payment.service import pay_invoice, top_up
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ProjectId, TenantId
from finpool.metering.correction.schemas import NewCorrection
from finpool.metering.correction.service import correct
from finpool.metering.lost_spool.schemas import LostSpoolBody
from finpool.metering.lost_spool.service import settle_lost_spool
from finpool.metering.spool.schemas import Outcome
from finpool.quota.account.service import lock_payment_terms, set_payment_terms
from finpool.quota.schemas import PaymentTerms, Period

BANK = TenantId("bank-a")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
FINANCE = Actor(Audience.TENANT, "key_1", Role.TENANT_FINANCE, BANK, ProjectId("credit"))


async def agreed(world: Any) -> Any:
    """Reconcile, and return the bank's sums; nothing may differ."""
    result = await world.reconcile()
    assert result.differences == ()
    return result.tenants[0]


async def test_after_corrections_before_and_after_an_invoice(world: Any) -> None:
    crashed = await world.serve([(1_000, 0, 10), (2_000, 0, 20)], outcome=Outcome.CRASHED)
    operators = world.open_as("operator")
    truth = NewCorrection(input_tokens=1_000, cached_input_tokens=100, output_tokens=64, reason="the engine's own log")
    async with operators.across_tenants() as session:
        await correct(session, OPERATOR, BANK, crashed[0], truth)
    await agreed(world)
    await world.invoice()
    less = NewCorrection(input_tokens=2_000, cached_input_tokens=0, output_tokens=0, reason="nothing had arrived")
    async with operators.across_tenants() as session:
        await correct(session, OPERATOR, BANK, crashed[1], less)
        await correct(session, OPERATOR, BANK, crashed[0], less)
    sums = await agreed(world)
    assert sums.recorded_picos != sums.used_picos
    assert sums.unbilled_picos != 0


async def test_after_disputes_of_a_line_and_of_a_request(world: Any) -> None:
    served = await world.serve([(5_000_000, 0, 2_000_000)])
    invoice = await world.invoice()
    async with world.open_as("tenant").for_tenant(BANK) as session:
        about_line = await open_dispute(session, FINANCE, NewDispute(invoice_id=invoice.id, line_no=1, reason="twice"))
        about_request = await open_dispute(session, FINANCE, NewDispute(request_id=served[0], reason="never sent"))
    accepted = DisputeAnswerBody(verdict="accepted", answer="you are right", credit_micros=1_000_000)
    async with world.open_as("operator").across_tenants() as session:
        await answer_dispute(session, OPERATOR, BANK, about_line.id, accepted)
        await answer_dispute(session, OPERATOR, BANK, about_request.id, accepted)
    assert (await agreed(world)).documents == 2


@pytest.mark.parametrize("decision", ["charged", "released"])
async def test_after_a_spool_was_given_up(world: Any, decision: str) -> None:
    await world.serve([(1_000, 0, 10)])
    async with world.tamper() as owner:
        spool_id = await owner.fetchval("SELECT spool_id FROM lease")
        await owner.execute("UPDATE spool_position SET updated_at = updated_at - interval '1 hour'")
    lost = LostSpoolBody(replica_id="local", spool_id=spool_id, decision=decision, reason="its volume burned")
    async with world.open_as("operator").across_tenants() as session:
        answer = await settle_lost_spool(session, OPERATOR, lost, "CNY")
    assert answer.leases_closed == 1
    sums = await agreed(world)
    assert (sums.recorded_picos > sums.used_picos) == (decision == "charged")


async def test_after_payments_in_parts(world: Any) -> None:
    await world.serve([(5_000_000, 0, 2_000_000)])
    invoice = await world.invoice()
    for reference, amount in (("first", 1_000_000), ("rest", invoice.total_micros - 1_000_000)):
        async with world.open_as("operator").across_tenants() as session:
            body = NewPayment(reference=reference, amount_micros=amount)
            await pay_invoice(session, OPERATOR, BANK, invoice.id, body)
        await agreed(world)


async def test_while_a_tenant_pays_in_advance(world: Any) -> None:
    world.period = Period.PREPAID
    async with world.open_as("operator").across_tenants() as session:
        await lock_payment_terms(session, BANK)
        await set_payment_terms(session, BANK, PaymentTerms.PREPAID)
    async with world.open_as("operator").across_tenants() as session:
        await top_up(session, OPERATOR, BANK, NewPayment(reference="wire 1", amount_micros=100_000_000), "CNY")
    await world.serve([(5_000_000, 0, 2_000_000)])
    await agreed(world)
    invoice = await world.invoice()
    await agreed(world)
    await world.credit(invoice)
    assert (await agreed(world)).documents == 2
