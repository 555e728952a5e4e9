"""The reads of a reconciliation, all from one snapshot of the database."""

from collections.abc import AsyncIterator
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.invoice.schemas import InvoiceStatus, InvoiceView
from finpool.billing.invoice.views import read_view
from finpool.billing.models import Invoice
from finpool.billing.reconciliation import books as reconcile_books
from finpool.billing.reconciliation import queries as reconcile_queries
from finpool.billing.reconciliation.queries import with_parts
from finpool.billing.reconciliation.schemas import Difference, EngineCounts
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId

_TOTALS = text(
    with_parts("""
    WITH logged AS (
        SELECT tenant_id, sum(cost_picos) AS amount FROM ($logged) AS every
        WHERE counted >= :start AND counted < :end GROUP BY tenant_id
    )
    SELECT a.tenant_id, used.*, recorded.amount + adjusted.amount AS recorded_picos, a.posted_picos,
        COALESCE(logged.amount, 0) AS logged_picos, -revenue.amount AS ledger_picos, unbilled.amount AS unbilled_picos
    FROM (SELECT * FROM account WHERE $of_tenant) AS a LEFT JOIN logged ON logged.tenant_id = a.tenant_id,
        LATERAL (SELECT count(*) AS requests, COALESCE(sum(input_tokens), 0) AS input_tokens,
                COALESCE(sum(output_tokens), 0) AS output_tokens, COALESCE(sum(cost_picos), 0) AS used_picos
            FROM usage_record u WHERE u.tenant_id = a.tenant_id AND $counted >= :start AND $counted < :end) AS used,
        LATERAL (SELECT COALESCE(sum(cost_picos), 0) AS amount FROM usage_record u
            WHERE u.tenant_id = a.tenant_id) AS recorded,
        LATERAL (SELECT COALESCE(sum(cost_picos), 0) AS amount FROM usage_adjustment d
            WHERE d.tenant_id = a.tenant_id) AS adjusted,
        LATERAL (SELECT COALESCE(sum(amount_picos), 0) AS amount FROM posting p WHERE p.tenant_id = a.tenant_id
            AND p.account = 'revenue' AND p.kind IN $usage_kinds) AS revenue,
        LATERAL (SELECT COALESCE(sum(amount_picos), 0) AS amount FROM posting p WHERE p.tenant_id = a.tenant_id
            AND p.account = 'unbilled') AS unbilled
    ORDER BY a.tenant_id
""")
)

_BY_MODEL = text(
    with_parts("""
    SELECT model_id, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
    FROM usage_record WHERE $counted >= :start AND $counted < :end GROUP BY model_id
""")
)

_TAKES_LONG = text("SET LOCAL statement_timeout = '2h'")
"""One comparison reads all usage of a period; the operator's role allows less for other statements."""


async def allow_long_statements(session: AsyncSession) -> None:
    """Give the statements of this transaction more time than the operator's role has."""
    await session.execute(_TAKES_LONG)


async def differences(
    session: AsyncSession, start: datetime, end: datetime, tenant_id: TenantId | None
) -> list[Difference]:
    """Return the differences that the SQL comparisons find."""
    found: list[Difference] = []
    for comparison in (*reconcile_queries.COMPARISONS, *reconcile_books.COMPARISONS):
        bounds = {"tenant_id": tenant_id, "start": start, "end": end}
        values = {name: bounds[name] for name in comparison.query.compile().params}
        rows = (await session.execute(comparison.query, values)).mappings()
        found += [Difference(left=comparison.left, right=comparison.right, **row) for row in rows]
    return found


async def totals(
    session: AsyncSession, start: datetime, end: datetime, tenant_id: TenantId | None
) -> list[dict[str, object]]:
    """Return the sums of each tenant's stages, ordered by tenant."""
    rows = await session.execute(_TOTALS, {"tenant_id": tenant_id, "start": start, "end": end})
    return [
        {name: value if name == "tenant_id" else int(value) for name, value in row.items()} for row in rows.mappings()
    ]


async def counts_by_model(session: AsyncSession, start: datetime, end: datetime) -> dict[str, EngineCounts]:
    """Return the recorded tokens of all tenants by model."""
    rows = await session.execute(_BY_MODEL, {"start": start, "end": end})
    return {
        row.model_id: EngineCounts(input_tokens=int(row.input_tokens), output_tokens=int(row.output_tokens))
        for row in rows
    }


async def documents(
    session: AsyncSession, start: datetime, end: datetime, tenant_id: TenantId | None
) -> AsyncIterator[InvoiceView]:
    """Yield the issued documents whose periods overlap [start, end), with their lines, one at a time."""
    every = select(Invoice) if tenant_id is None else rows_of(tenant_id, Invoice)
    query = every.where(
        col(Invoice.status) != InvoiceStatus.DRAFT.value,
        col(Invoice.period_start) < end,
        col(Invoice.period_end) > start,
    )
    ordered = query.order_by(col(Invoice.tenant_id), col(Invoice.period_end), col(Invoice.number))
    for row in (await session.execute(ordered)).scalars().all():
        yield await read_view(session, row)
