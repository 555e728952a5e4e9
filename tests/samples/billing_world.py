"""Banks whose usage goes the whole way: leased, spooled, recorded, logged, invoiced."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from finpool.audit.sequencer import Sequencer
from finpool.billing.contract.models import Contract, PoolCost
from finpool.billing.credit_note.service import credit_invoice
from finpool.billing.document import service as render_service
from finpool.billing.document.schemas import FocusFormat, FocusQuery
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.schemas import InvoiceView
from finpool.billing.invoice.service import draft_invoice, issue_invoice
from finpool.billing.payment.schemas import NewCreditNote
from finpool.billing.reconciliation.schemas import EngineCounts, ReconciliationView
from finpool.billing.reconciliation.service import reconcile
from finpool.catalogue.model.schemas import Price
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import LeaseId, ModelId, ReplicaId, TenantId
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.schemas import Intent, Outcome, Settlement
from finpool.metering.spool.spool import Spool
from finpool.quota.grant import grants
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.grant.schemas import BudgetNeed
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import BudgetKey, Limits, Period, operator_limit
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
TERMS = BillingTerms(currency="CNY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)
BANK = TenantId("bank-a")
REPLICA = ReplicaId("local")
MODEL = "fin-7b"
PRICE = TokenPrice.of(
    MODEL,
    Price(
        currency="CNY",
        input_micros_per_million_tokens=2_000_000,
        cached_input_micros_per_million_tokens=500_000,
        output_micros_per_million_tokens=8_000_000,
    ),
)
MODELS = Catalogue.load(default_directory()).all()
THIS_MONTH = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
TAMPERED = ("account", "budget", "lease", "usage_record", "transfer", "invoice", "invoice_line", "payment")
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)
EARLIER = (LAST_MONTH - timedelta(days=1)).replace(day=1)
LONG_AGO = EARLIER - timedelta(days=90)


@dataclass
class World:
    """One replica with its spool and recorder, and the operators' side."""

    open_as: Callable[[str], Database]
    owner_url: str
    directory: Path
    replica_id: ReplicaId = REPLICA
    leases: dict[TenantId, LeaseId] = field(default_factory=dict)
    period: Period = Period.TOTAL
    price: TokenPrice = PRICE
    served: int = 0

    async def add_bank(self, tenant_id: TenantId = BANK, name: str = "Pujiang Bank") -> None:
        """Create a tenant with two projects and a budget."""
        async with self.open_as("operator").across_tenants() as session:
            await create_tenant(session, OPERATOR, NewTenant(id=tenant_id, name=name), [ModelId(MODEL)])
            for project in ("credit", "treasury"):
                await create_project(session, OPERATOR, tenant_id, NewProject(id=project, name=project.title()))
            budget = Limits(budget_total_micros=10**12)
            await write_limits(session, tenant_id, operator_limit(tenant_id), budget)

    async def serve(
        self,
        tokens: Iterable[tuple[int, int, int]],
        settled_at: datetime = LAST_MONTH + timedelta(days=9),
        tenant_id: TenantId = BANK,
        outcome: Outcome = Outcome.COMPLETED,
        project: str = "credit",
        admitted_at: datetime | None = None,
    ) -> list[str]:
        """Serve requests out of a lease and record them; returns their ids."""
        spool = Spool(self.directory, 10**8)
        try:
            lease = await self._lease(tenant_id, spool.spool_id)
            ids = []
            for input_tokens, cached, output_tokens in tokens:
                self.served += 1
                intent = self._intent(f"req_{self.served}", tenant_id, project, lease, admitted_at or settled_at)
                await spool.intend(intent)
                at = settled_at.isoformat()
                estimated = outcome is Outcome.CRASHED
                await spool.settle(Settlement(intent, outcome, input_tokens, cached, output_tokens, estimated, at))
                ids.append(intent.request_id)
        finally:
            await spool.close()
        recorder = Recorder(self.open_as("worker"), self.directory, self.replica_id)
        try:
            while await recorder.run_once():
                pass
        finally:
            recorder.close()
        return ids

    async def sequence(self) -> None:
        """Move what happened into the log."""
        sequencer = Sequencer(self.open_as("worker"))
        while await sequencer.run_once():
            pass

    async def invoice(self, month: datetime = LAST_MONTH, tenant_id: TenantId = BANK) -> InvoiceView:
        """Draft and issue an invoice."""
        async with self.open_as("operator").across_tenants() as session:
            draft = await draft_invoice(session, OPERATOR, tenant_id, f"{month:%Y-%m}", TERMS)
            return await issue_invoice(session, OPERATOR, tenant_id, draft.id)

    async def credit(self, invoice: InvoiceView) -> InvoiceView:
        """Take back a whole invoice."""
        async with self.open_as("operator").across_tenants() as session:
            body = NewCreditNote(reference="complaint 7", reason="wrong project", lines=None)
            return await credit_invoice(session, OPERATOR, TenantId(invoice.tenant_id), invoice.id, body)

    async def agree(self, tenant_id: TenantId = BANK, discount_basis_points: int = 0) -> None:
        """Agree on a minimum, a discount and a share of the pool's cost, long ago."""
        async with self.open_as("operator").across_tenants() as session:
            session.add(
                Contract(
                    tenant_id=tenant_id,
                    version=1,
                    valid_from=LONG_AGO,
                    discount_basis_points=discount_basis_points,
                    commitment_micros=50_000_000,
                    pool_weight=1,
                    created_at=LONG_AGO,
                    created_by="test",
                )
            )
            for month in (EARLIER, LAST_MONTH):
                session.add(
                    PoolCost(
                        month=month.date(),
                        version=1,
                        currency="CNY",
                        amount_micros=7_000_000,
                        equal_share_basis_points=0,
                        created_at=LONG_AGO,
                        created_by="test",
                    )
                )

    async def bill_everything(self) -> list[InvoiceView]:
        """Issue documents with every kind of line: usage, a correction, a minimum, a fee, tax, a credit note."""
        await self.agree()
        await self.serve([(1_234_567, 1_000, 765_432), (777, 777, 0)], EARLIER + timedelta(days=9))
        first = await self.invoice(EARLIER)
        await self.serve([(2_000_000, 0, 300_000)], EARLIER + timedelta(days=20), project="treasury")
        await self.serve([(5_000_000, 0, 2_000_000)])
        return [first, await self.invoice(), await self.credit(first)]

    async def file(self, form: FocusFormat, tenant_id: TenantId = BANK) -> bytes:
        """Return the FOCUS file of all that was issued."""
        months = {"from": f"{EARLIER:%Y-%m}", "to": f"{LAST_MONTH:%Y-%m}"}
        async with self.open_as("operator").across_tenants() as session:
            query = FocusQuery.model_validate({**months, "format": form})
            rendering = await render_service.focus(session, tenant_id, query, MODELS)
        return (await render_service.rendered_file(rendering)).content

    async def reconcile(
        self, engines: dict[str, EngineCounts] | None = None, tenant_id: TenantId | None = None
    ) -> ReconciliationView:
        """Reconcile all that there is."""
        end = now() + timedelta(minutes=1)
        return await reconcile(self.open_as("operator"), EARLIER, end, tenant_id, engines)

    @asynccontextmanager
    async def tamper(self) -> AsyncIterator[asyncpg.Connection]:
        """Change what nobody may change: as the owner, with every trigger and wall of the tables off."""
        connection = await asyncpg.connect(self.owner_url)
        try:
            for table in TAMPERED:
                await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            yield connection
        finally:
            for table in TAMPERED:
                await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
                await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            await connection.close()

    @asynccontextmanager
    async def tampered(self, change: str) -> AsyncIterator[None]:
        """Make one such change for as long as the block runs; then every row is again as it was."""
        async with self.tamper() as owner:
            for table in TAMPERED:
                await owner.execute(f"CREATE TEMP TABLE true_{table} AS TABLE {table}")
            try:
                assert not (await owner.execute(change)).endswith(" 0"), "no row was changed"
                yield
            finally:
                for table in reversed(TAMPERED):
                    await owner.execute(f"DELETE FROM {table}")
                for table in TAMPERED:
                    await owner.execute(f"INSERT INTO {table} TABLE true_{table}")

    async def _lease(self, tenant_id: TenantId, spool_id: str) -> LeaseId:
        if tenant_id not in self.leases:
            self.leases[tenant_id] = LeaseId(f"lease_{len(self.leases)}")
        key = BudgetKey(operator_limit(tenant_id), self.period)
        need = BudgetNeed(key, self.leases[tenant_id], 10**14, 10**14)
        async with self.open_as("inference").for_tenant(tenant_id) as session:
            await grants.ask(session, tenant_id, Holder(self.replica_id, spool_id, "run"), [need], [], 0.5)
        return self.leases[tenant_id]

    def _intent(
        self, request_id: str, tenant_id: TenantId, project: str, lease: LeaseId, admitted_at: datetime
    ) -> Intent:
        return Intent(
            request_id=request_id,
            tenant_id=tenant_id,
            project_id=project,
            key_id="key_1",
            model_id=MODEL,
            weights_sha256="0" * 64,
            price_version=self.price.price_version,
            currency=self.price.currency,
            input_picos=self.price.input_picos,
            cached_input_picos=self.price.cached_input_picos,
            output_picos=self.price.output_picos,
            policy_version=1,
            lease_ids=(lease,),
            streamed=False,
            started_at=admitted_at.isoformat(),
        )
