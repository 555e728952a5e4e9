"""In any order of usage, drafts and issues every record is in exactly one invoice, and they sum to the usage."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 120
MODELS = ("model-x", "model-y")

requests = st.tuples(
    st.just("use"),
    st.lists(
        st.tuples(
            st.integers(0, DAYS - 1),
            st.integers(0, 10**9),
            st.integers(0, 100),
            st.integers(0, 10**9),
            st.sampled_from(MODELS),
            st.sampled_from(["completed", "aborted", "failed", "crashed"]),
        ),
        min_size=1,
        max_size=4,
    ),
)
adjustments = st.tuples(st.just("adjust"), st.tuples(st.integers(0, DAYS - 1), st.integers(-(10**13), 10**13)))
invoices = st.tuples(st.sampled_from(["draft", "issue", "draft and issue"]), st.integers(1, 4))
histories = st.lists(requests | adjustments | invoices, min_size=3, max_size=10)


class History:
    """Runs the history of one bank, and keeps an independent account of its invoices."""

    def __init__(self, bank: Any, use: Any) -> None:
        self.bank = bank
        self.use = use
        self.unbilled: list[tuple[datetime, int]] = []
        self.drafted: tuple[str, int] | None = None
        self.covered: list[tuple[datetime, int]] = []
        self.invoiced_until = 0
        self.issued: list[Any] = []

    async def step(self, kind: str, given: Any) -> None:
        """Let one thing happen."""
        if kind == "use":
            await self._use(given)
        elif kind == "adjust":
            day, picos = given
            at = START + timedelta(days=day)
            await self.bank.adjust(picos, recorded_at=at)
            self.unbilled.append((at, picos))
        if "draft" in kind and given > self.invoiced_until:
            await self._draft(given)
        if "issue" in kind and self.drafted is not None:
            await self._issue()

    async def _use(self, given: Any) -> None:
        uses = [
            self.use(
                START + timedelta(days=day),
                tokens=(total, total * share // 100, output),
                model=model,
                outcome=outcome,
            )
            for day, total, share, output, model, outcome in given
        ]
        await self.bank.record(uses)
        self.unbilled += [(each.settled_at, each.cost_picos) for each in uses]

    async def _draft(self, month: int) -> None:
        draft = await self.bank.draft(f"2025-{month:02d}")
        end = draft.period_end
        self.drafted = (draft.id, month)
        self.covered = [each for each in self.unbilled if each[0] < end]

    async def _issue(self) -> None:
        assert self.drafted is not None
        invoice_id, month = self.drafted
        invoice = await self.bank.issue(invoice_id)
        assert sum(line.amount_picos for line in invoice.lines) == sum(picos for _, picos in self.covered)
        assert sum(line.amount_micros for line in invoice.lines) == invoice.net_micros
        for each in self.covered:
            self.unbilled.remove(each)
        self.drafted, self.invoiced_until = None, month
        self.issued.append(invoice)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
async def test_every_record_is_in_exactly_one_invoice_and_invoices_sum_to_the_usage(
    open_bank: Any, use: Any, history: list[Any]
) -> None:
    made = History(await open_bank(f"bank-{uuid4()}"), use)
    for kind, given_now in history:
        await made.step(kind, given_now)
    await made.step("draft and issue", 12)
    assert made.unbilled == []
    billed = sum(line.amount_picos for invoice in made.issued for line in invoice.lines)
    balances = await made.bank.balances()
    assert -balances.get("revenue", 0) == billed
    assert "unbilled" not in balances
    for before, after in pairwise(made.issued):
        assert (after.previous_end, after.previous_cut_seq) == (before.period_end, before.cut_seq)
