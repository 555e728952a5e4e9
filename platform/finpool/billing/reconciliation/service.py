"""Reconciliation: it compares engines, log, usage, accounts, ledger, invoices and exports."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.errors import UsageDoesNotAddUp
from finpool.billing.invoice import usage
from finpool.billing.invoice.lines import usage_charges
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceView
from finpool.billing.invoice.usage import BillingCutoff
from finpool.billing.reconciliation import documents, repository
from finpool.billing.reconciliation.schemas import Difference, EngineCounts, ReconciliationView, Stage, TenantTotals
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.tenancy import service as tenancy


async def reconcile(
    database: Database,
    start: datetime,
    end: datetime,
    tenant_id: TenantId | None = None,
    engines: Mapping[str, EngineCounts] | None = None,
) -> ReconciliationView:
    """Compare every stage of one tenant or of all in one snapshot; `database` is the operators'.

    Settlements in [start, end) are compared one by one with the log, which holds the engines' reports. Counters and
    balances are compared with their current values. Documents are those whose periods overlap [start, end). `engines`
    are the engine counts of the period over all tenants, by model.
    """
    async with database.one_moment_across_tenants() as session:
        await repository.allow_long_statements(session)
        found = await repository.differences(session, start, end, tenant_id)
        if engines is not None:
            found += _engines_and_usage(engines, await repository.counts_by_model(session, start, end))
        documents_of: defaultdict[str, list[tuple[InvoiceView, int]]] = defaultdict(list)
        async for each in repository.documents(session, start, end, tenant_id):
            exported = documents.export_of(each, await tenancy.project_names(session, TenantId(each.tenant_id)))
            found += documents.lines_and_total(each) + documents.invoice_and_export(each, exported)
            found += await _usage_and_invoice(session, each)
            documents_of[each.tenant_id].append((each, documents.exported_micros(each, exported)))
        totals = await repository.totals(session, start, end, tenant_id)
    return ReconciliationView(
        start=start,
        end=end,
        engines="log" if engines is None else "counters",
        tenants=tuple(_totals(each, documents_of[str(each["tenant_id"])]) for each in totals),
        differences=tuple(found),
    )


async def _usage_and_invoice(session: AsyncSession, invoice: InvoiceView) -> list[Difference]:
    """Compute the charges of an issued invoice again from recorded usage, and compare them with its lines."""
    if invoice.kind is not InvoiceKind.INVOICE or invoice.cut_seq is None:
        return []
    cutoff = BillingCutoff(
        tenant_id=TenantId(invoice.tenant_id),
        end=invoice.period_end,
        seq=invoice.cut_seq,
        previous_end=invoice.previous_end,
        previous_seq=invoice.previous_cut_seq or 0,
    )
    try:
        sums = await usage.usage_sums(session, cutoff, invoice.currency)
        prices = await usage.unit_prices(session, {each.price_version for each in sums})
        charges = usage_charges(sums, prices) + await usage.other_adjustments(session, cutoff, invoice.currency)
    except UsageDoesNotAddUp as error:
        return [
            Difference(
                tenant_id=invoice.tenant_id,
                left=Stage.PRICE,
                right=Stage.USAGE,
                subject=f"{invoice.number}: usage at its prices",
                left_value="adds up",
                right_value=error.message,
            )
        ]
    return documents.usage_and_lines(invoice, charges)


def _engines_and_usage(engines: Mapping[str, EngineCounts], used: Mapping[str, EngineCounts]) -> list[Difference]:
    nothing = EngineCounts(input_tokens=0, output_tokens=0)
    return [
        Difference(
            tenant_id=None,
            left=Stage.ENGINE,
            right=Stage.USAGE,
            subject=f"model {model}",
            left_value=_shown(engines.get(model, nothing)),
            right_value=_shown(used.get(model, nothing)),
        )
        for model in sorted({*engines, *used})
        if engines.get(model, nothing) != used.get(model, nothing)
    ]


def _shown(counts: EngineCounts) -> str:
    return f"{counts.input_tokens} input and {counts.output_tokens} output tokens"


def _totals(sums: Mapping[str, object], found: list[tuple[InvoiceView, int]]) -> TenantTotals:
    return TenantTotals.model_validate(
        {
            **sums,
            "documents": len(found),
            "invoiced_micros": sum(invoice.total_micros for invoice, _ in found),
            "exported_micros": sum(exported for _, exported in found),
        }
    )
