"""Banks whose usage a test writes as the recorder does: numbered under the account's lock, with its transfer."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.contract.models import Contract
from finpool.billing.credit_note.service import credit_invoice
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.schemas import InvoiceView
from finpool.billing.invoice.service import draft_invoice, get_invoice, issue_invoice
from finpool.billing.payment.schemas import LineCredit, NewCreditNote, NewPayment, PaymentView
from finpool.billing.payment.service import pay_invoice
from finpool.catalogue.model.schemas import Price, price_version_name
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.metering.models import UsageAdjustment, UsageRecord
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import Book, TransferKind

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
TERMS = BillingTerms(currency="EUR", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)
CREATED = datetime(2024, 12, 15, tzinfo=UTC)
MODELS = {"model-x": (150_000, 30_000, 600_000), "model-y": (7, 3, 11)}
"""Prices in picos a token, as input, cached input and output."""


def version_of(model: str, prices: tuple[int, int, int]) -> str:
    """Return the name that the catalogue gives to a price in EUR."""
    kinds = ("input", "cached_input", "output")
    amounts = {f"{kind}_micros_per_million_tokens": price for kind, price in zip(kinds, prices, strict=True)}
    return price_version_name(model, Price(currency="EUR", **amounts))


VERSIONS = {model: version_of(model, prices) for model, prices in MODELS.items()}


@dataclass
class Use:
    """One request's usage."""

    settled_at: datetime
    tokens: tuple[int, int, int] = (100_000_000, 40_000_000, 20_000_000)
    model: str = "model-x"
    project: str = "credit"
    outcome: str = "completed"
    tier: str = "standard"
    fields: dict[str, object] = field(default_factory=dict)

    @property
    def cost_picos(self) -> int:
        """Its exact cost."""
        if self.outcome == "failed":
            return 0
        (fresh, cached, output), (total, of_cache, out) = MODELS[self.model], self.tokens
        return (total - of_cache) * fresh + of_cache * cached + out * output


@dataclass
class Bank:
    """One tenant, its usage and its invoices."""

    tenant_id: TenantId
    open_as: Callable[[str], Database]
    recorded: int = 0

    def operator(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction as the operators' door does."""
        return self.open_as("operator").across_tenants()

    async def record(self, uses: Iterable[Use]) -> list[str]:
        """Record usage in one transaction and return the requests' ids."""
        uses = list(uses)
        async with self.open_as("worker").across_tenants() as session:
            seq = await self._numbered(session, len(uses))
            rows = [self._row(use, seq + offset) for offset, use in enumerate(uses)]
            await session.execute(insert(UsageRecord), rows)
            cost = sum(use.cost_picos for use in uses)
            for table in ("account", "budget"):
                statement = f"UPDATE {table} SET posted_picos = posted_picos + CAST(:cost AS text)::numeric"
                values = {"cost": str(cost), "id": self.tenant_id}
                await session.execute(text(f"{statement} WHERE tenant_id = :id"), values)
            moved: dict[str, int] = {Book.UNBILLED: cost, Book.REVENUE: -cost}
            await ledger.transfer(session, self.tenant_id, TransferKind.USAGE, f"seq/{seq}", moved)
        return [str(row["request_id"]) for row in rows]

    async def adjust(self, cost_picos: int, **fields: object) -> str:
        """Record an adjustment and return its id."""
        async with self.operator() as session:
            seq = await self._numbered(session, 1)
            row = {
                "tenant_id": self.tenant_id,
                "adjustment_id": f"adj_{seq}",
                "kind": "lease_charge",
                "currency": "EUR",
                "input_tokens": 0,
                "cached_input_tokens": 0,
                "output_tokens": 0,
                "cost_picos": cost_picos,
                "reason": "test",
                "made_by": "test",
                "usage_seq": seq,
                "recorded_at": now(),
            }
            await session.execute(insert(UsageAdjustment).values({**row, **fields}))
            moved: dict[str, int] = {Book.UNBILLED: cost_picos, Book.REVENUE: -cost_picos}
            await ledger.transfer(session, self.tenant_id, TransferKind.ADJUSTMENT, f"adj_{seq}", moved)
        return f"adj_{seq}"

    async def draft(self, month: str, terms: BillingTerms = TERMS) -> InvoiceView:
        """Draft an invoice."""
        async with self.operator() as session:
            return await draft_invoice(session, OPERATOR, self.tenant_id, month, terms)

    async def issue(self, invoice_id: str) -> InvoiceView:
        """Issue an invoice."""
        async with self.operator() as session:
            return await issue_invoice(session, OPERATOR, self.tenant_id, invoice_id)

    async def issued(self, month: str, terms: BillingTerms = TERMS) -> InvoiceView:
        """Draft and issue an invoice."""
        return await self.issue((await self.draft(month, terms)).id)

    async def pay(self, invoice_id: str, amount_micros: int, reference: str = "transfer 1") -> PaymentView:
        """Pay an invoice, in whole or in part."""
        body = NewPayment(amount_micros=amount_micros, reference=reference)
        async with self.operator() as session:
            return await pay_invoice(session, OPERATOR, self.tenant_id, invoice_id, body)

    async def credit(self, invoice_id: str, *lines: tuple[int, int | None], reference: str = "case 1") -> InvoiceView:
        """Credit lines, each by number and amount, or without any the whole invoice."""
        chosen = tuple(LineCredit(line_no=number, amount_micros=amount) for number, amount in lines)
        body = NewCreditNote(reference=reference, reason="agreed", lines=chosen or None)
        async with self.operator() as session:
            return await credit_invoice(session, OPERATOR, self.tenant_id, invoice_id, body)

    async def status_of(self, invoice_id: str) -> str:
        """Return the status of an invoice or a draft."""
        async with self.operator() as session:
            return (await get_invoice(session, self.tenant_id, invoice_id, drafts=True)).status.value

    async def agree(self, valid_from: datetime, **terms: int) -> None:
        """Agree terms that hold from a moment in the past on, which no operator could."""
        plain: dict[str, Any] = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": 0}
        async with self.operator() as session:
            session.add(
                Contract(
                    tenant_id=self.tenant_id,
                    version=1,
                    valid_from=valid_from,
                    created_at=valid_from,
                    created_by="test",
                    **(plain | terms),
                )
            )

    async def account(self) -> dict[str, int]:
        """Return what the account has spent and was paid in, in picos."""
        async with self.operator() as session:
            query = text("SELECT posted_picos, funded_picos FROM account WHERE tenant_id = :id")
            row = (await session.execute(query, {"id": self.tenant_id})).one()
            return {"posted": int(row.posted_picos), "funded": int(row.funded_picos)}

    async def balances(self) -> dict[str, int]:
        """Return the balance of each book that is not zero, in picos."""
        async with self.operator() as session:
            rows = await session.execute(
                text("SELECT account, sum(amount_picos) AS sum FROM posting WHERE tenant_id = :id GROUP BY account"),
                {"id": self.tenant_id},
            )
            return {row.account: int(row.sum) for row in rows if row.sum}

    async def _numbered(self, session: AsyncSession, count: int) -> int:
        taken = "UPDATE account SET usage_seq = usage_seq + :count WHERE tenant_id = :id RETURNING usage_seq"
        last = (await session.execute(text(taken), {"count": count, "id": self.tenant_id})).scalar_one()
        return int(last) - count + 1

    def _row(self, use: Use, seq: int) -> dict[str, object]:
        self.recorded += 1
        return {
            "tenant_id": self.tenant_id,
            "request_id": f"req_{self.recorded}",
            "project_id": use.project,
            "key_id": "key_1",
            "model_id": use.model,
            "weights_sha256": "0" * 64,
            "price_version": VERSIONS[use.model],
            "currency": "EUR",
            "input_tokens": use.tokens[0],
            "cached_input_tokens": use.tokens[1],
            "output_tokens": use.tokens[2],
            "cost_picos": use.cost_picos,
            "outcome": use.outcome,
            "estimated": use.outcome == "crashed",
            "streamed": False,
            "policy_version": 1,
            "lease_ids": [],
            "replica_id": "local",
            "spool_seq": seq,
            "tier": use.tier,
            "usage_seq": seq,
            "started_at": use.settled_at,
            "settled_at": use.settled_at,
            "recorded_at": now(),
            **use.fields,
        }


def of_kind(invoice: Any, kind: str) -> list[tuple[int, int, bool]]:
    """Return month, units of the currency, and whether it is a correction, of each line of a kind."""
    return [
        (line.charge_start.month, line.amount_micros // 10**6, line.correction)
        for line in invoice.lines
        if line.kind == kind
    ]
