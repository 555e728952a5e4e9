"""Every tenant's limits in memory; a snapshot that follows the database."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId
from finpool.quota.limits import Applicable, TenantLimits, key_of, limits_of_row
from finpool.quota.models import Account, QuotaLimit
from finpool.quota.schemas import (
    LimitKey,
    Limits,
    PaymentTerms,
    Subject,
)

_REMEMBERED_MAX = 100_000


class LimitDirectory:
    """Every tenant's limits; a tenant without limits may spend nothing."""

    def __init__(self) -> None:
        self._tenants: dict[TenantId, TenantLimits] = {}
        self._applicable: dict[Subject, Applicable] = {}
        self._on_change: Callable[[TenantLimits, TenantLimits], None] | None = None

    def watch(self, on_change: Callable[[TenantLimits, TenantLimits], None]) -> None:
        """Call `on_change(before, after)` for each tenant whose limits may have changed."""
        self._on_change = on_change

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's limits again, or all limits for None."""
        limits, accounts = select(QuotaLimit), select(Account)
        if tenant_id is not None:
            limits, accounts = rows_of(tenant_id, QuotaLimit), rows_of(tenant_id, Account)
        terms = accounts.with_only_columns(col(Account.tenant_id), col(Account.payment))
        found: dict[TenantId, dict[LimitKey, Limits]] = {}
        for row in (await session.execute(limits)).scalars():
            found.setdefault(TenantId(row.tenant_id), {})[key_of(row)] = limits_of_row(row)
        loaded = {
            TenantId(row.tenant_id): TenantLimits(
                TenantId(row.tenant_id),
                found.get(TenantId(row.tenant_id), {}),
                prepaid=row.payment == PaymentTerms.PREPAID,
            )
            for row in (await session.execute(terms)).all()
        }
        before = self._tenants
        self._tenants = loaded if tenant_id is None else {**before, **loaded}
        self._applicable = {}
        if self._on_change is not None:
            for each in before.keys() | loaded.keys() if tenant_id is None else loaded.keys():
                self._on_change(before.get(each, _none(each)), self.of(each))

    def of(self, tenant_id: TenantId) -> TenantLimits:
        """Return a tenant's limits."""
        return self._tenants.get(tenant_id) or _none(tenant_id)

    def applicable(self, subject: Subject) -> Applicable:
        """Return the limits that apply to a subject; cached until limits change."""
        known = self._applicable.get(subject)
        if known is None:
            if len(self._applicable) >= _REMEMBERED_MAX:
                self._applicable.clear()
            known = self._applicable[subject] = self.of(subject.tenant_id).applicable(subject)
        return known


def _none(tenant_id: TenantId) -> TenantLimits:
    return TenantLimits(tenant_id, {}, prepaid=False)
