"""A bank sees the draft of its running month: the invoice as it would be now, and the FOCUS rows that go with it."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from billing_bank import CREATED
from billing_doors import BANKS, OWN, Doors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from finpool.billing.invoice.draft import own_draft
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.months import month_of
from finpool.kernel.clock import now

OF_THE_MOMENT = ("id", "created_at")
TERMS = BillingTerms(currency="EUR", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)


def constant(invoice: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in invoice.items() if name not in OF_THE_MOMENT}


@pytest.fixture
async def this_month(bank: Any, use: Any) -> None:
    """Usage of this month that rounds to less, and late usage of the last one."""
    begins = month_of(now())
    await bank.record([use(now(), tokens=(80_000, 0, 40_001)), use(begins, model="model-y", tokens=(3, 1, 7))])
    await bank.record([use(begins - timedelta(seconds=1), tokens=(100_000, 0, 0))])


async def test_a_bank_reads_the_draft_that_an_operator_would_make(doors: Doors, this_month: None) -> None:
    month = f"{now():%Y-%m}"
    for role in ("finance", "auditor", "owner"):
        own = await doors(role).get(f"{OWN}/invoices/draft")
        assert own.status_code == 200
    drafted = (await doors.operator.post(f"{BANKS}/invoices", json={"month": month})).json()
    again = (await doors("finance").get(f"{OWN}/invoices/draft")).json()
    assert constant(own.json()) == constant(again) == constant(drafted)
    assert (again["id"], again["status"], again["number"]) == ("draft", "draft", None)
    assert again["lines"]
    assert sum(line["amount_micros"] for line in again["lines"]) == again["net_micros"]
    assert int(again["exact_picos"]) == sum(int(line["amount_picos"]) for line in again["lines"])
    assert int(again["rounding_picos"]) == again["net_micros"] * 10**6 - int(again["exact_picos"])
    assert again["rounding_unit_micros"] == 10_000
    for path in ("/invoices/draft", "/invoices/draft/file", f"/focus?from={month}&to={month}&draft=true"):
        assert (await doors("developer").get(f"{OWN}{path}")).status_code == 403
    assert (await doors("foreign").get(f"{OWN}/invoices/draft")).json()["lines"] == []


async def test_the_draft_is_a_file_and_its_focus_rows_sum_to_it(doors: Doors, this_month: None) -> None:
    draft = (await doors("owner").get(f"{OWN}/invoices/draft")).json()
    pdf = await doors("finance").get(f"{OWN}/invoices/draft/file")
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf.content)).pages)
    assert "this is a draft" in text
    assert "Each line is rounded once to 0.01 EUR" in " ".join(text.split())
    table = await doors("finance").get(f"{OWN}/invoices/draft/file", params={"format": "csv"})
    records = list(csv.DictReader(io.StringIO(table.text)))
    for record in records:
        assert Decimal(record["amount"]) - Decimal(record["exact_amount"]) == Decimal(record["rounding"])
    months = {"from": f"{now():%Y-%m}", "to": f"{now():%Y-%m}"}
    rows = (await doors("finance").get(f"{OWN}/focus", params={**months, "draft": "true"})).text
    costs = [Decimal(row["BilledCost"]) for row in csv.DictReader(io.StringIO(rows))]
    assert sum(costs) == Decimal(draft["total_micros"]).scaleb(-6)
    assert {row["InvoiceId"] for row in csv.DictReader(io.StringIO(rows))} == {""}
    without = (await doors("finance").get(f"{OWN}/focus", params=months)).text
    earlier = {"from": "2024-01", "to": "2024-02", "draft": "true"}
    assert without.count("\n") == (await doors("finance").get(f"{OWN}/focus", params=earlier)).text.count("\n") == 1


async def test_the_draft_of_a_member_says_that_its_fee_is_missing_and_the_invoice_has_it(
    doors: Doors, bank: Any, this_month: None
) -> None:
    month = f"{now():%Y-%m}"
    apart = (await doors("finance").get(f"{OWN}/invoices/draft")).json()
    assert apart["membership_fees_left_out"] == []
    await bank.agree(valid_from=month_of(now()), pool_weight=2)
    cost = {"amount_micros": 9_000_000, "equal_share_basis_points": 0}
    assert (await doors.operator.put(f"/v1/pool-costs/{month}", json=cost)).status_code == 200
    draft = (await doors("finance").get(f"{OWN}/invoices/draft")).json()
    assert (draft["membership_fees_left_out"], draft["total_micros"]) == ([month], apart["total_micros"])
    pdf = await doors("finance").get(f"{OWN}/invoices/draft/file")
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf.content)).pages)
    assert f"Not included: the pool membership fee of {month}." in " ".join(text.replace("\0", "").split())
    drafted = (await doors.operator.post(f"{BANKS}/invoices", json={"month": month})).json()
    assert drafted["membership_fees_left_out"] == []
    assert drafted["net_micros"] == draft["net_micros"] + cost["amount_micros"]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    uses=st.lists(
        st.tuples(
            st.integers(0, 10**9), st.integers(0, 100), st.integers(0, 10**9), st.sampled_from(["model-x", "model-y"])
        ),
        min_size=1,
        max_size=5,
    )
)
async def test_a_draft_holds_the_usage_exactly_and_is_what_is_invoiced_for_it(
    open_bank: Any, use: Any, uses: list[tuple[int, int, int, str]]
) -> None:
    bank = await open_bank(f"bank-{uuid4()}")
    used = [
        use(CREATED, tokens=(total, total * share // 100, output), model=model) for total, share, output, model in uses
    ]
    await bank.record(used)
    async with bank.open_as("tenant").for_tenant(bank.tenant_id) as session:
        draft = await own_draft(session, bank.tenant_id, TERMS)
    assert draft.exact_picos == sum(each.cost_picos for each in used)
    assert draft.net_micros == sum(line.amount_micros for line in draft.lines)
    assert draft.total_micros == draft.net_micros + sum(line.tax_micros for line in draft.lines)
    assert abs(draft.rounding_picos) * 2 <= draft.rounding_unit_micros * 10**6 * len(draft.lines)
    issued = await bank.issued(f"{CREATED:%Y-%m}")
    amounts = [line.model_dump() for line in draft.lines]
    assert [line.model_dump() for line in issued.lines] == amounts
    assert (issued.net_micros, issued.tax_micros) == (draft.net_micros, draft.tax_micros)
