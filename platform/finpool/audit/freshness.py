"""The freshness of the log: how long events wait to enter it, and how many could not.

A log that nobody writes any more is intact. So every view of it says how fresh it is.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.audit.models import AuditEntry, AuditOutbox, AuditQuarantine
from finpool.kernel.clock import now
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId


async def freshness(
    session: AsyncSession, waiting_seconds_max: float, tenant_id: TenantId | None = None
) -> LogFreshnessView:
    """Return the freshness of the log for one tenant, or for all tenants."""
    waiting, log, aside = select(AuditOutbox), select(AuditEntry), select(AuditQuarantine)
    if tenant_id is not None:
        waiting, log = rows_of(tenant_id, AuditOutbox), rows_of(tenant_id, AuditEntry)
        aside = rows_of(tenant_id, AuditQuarantine)
    age = func.extract("epoch", func.clock_timestamp() - col(AuditOutbox.written_at))
    oldest = waiting.with_only_columns(age).order_by(col(AuditOutbox.outbox_id)).limit(1)
    newest = log.with_only_columns(col(AuditEntry.occurred_at)).order_by(col(AuditEntry.seq).desc()).limit(1)
    unreviewed = aside.with_only_columns(func.count(col(AuditQuarantine.outbox_id)))
    waits, happened, quarantined = (
        await session.execute(
            select(
                oldest.scalar_subquery(),
                newest.scalar_subquery(),
                unreviewed.where(col(AuditQuarantine.reviewed_at).is_(None)).scalar_subquery(),
            )
        )
    ).one()
    found = LogFreshnessView(
        is_fresh=True,
        oldest_waiting_seconds=None if waits is None else round(max(float(waits), 0.0), 3),
        last_entry_seconds=None if happened is None else _age(happened),
        quarantined=quarantined,
        waiting_seconds_max=waiting_seconds_max,
    )
    return found.model_copy(update={"is_fresh": not found.faults})


def _age(written: str) -> float:
    return round(max((now() - datetime.fromisoformat(written)).total_seconds(), 0.0), 3)
