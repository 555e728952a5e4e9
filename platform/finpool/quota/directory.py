"""Every tenant's limits in memory; a snapshot that follows the database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.ids import TenantId
from finpool.quota.models import Account, QuotaLimit
from finpool.quota.schemas import (
    BudgetKey,
    LimitKey,
    Limits,
    Payment,
    Period,
    RateKey,
    Scope,
    SetBy,
    Subject,
    operator_limit,
)

_REMEMBERED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Applicable:
    """What a request of one subject has to fit into. `funded`: it has a budget of the whole tenant to be paid from.

    `stopped` is a budget of 0, which stops also what costs nothing.
    """

    budgets: tuple[BudgetKey, ...]
    rates: tuple[tuple[RateKey, int], ...]
    funded: bool
    stopped: BudgetKey | None = None


class TenantLimits:
    """The limits of one tenant."""

    def __init__(self, tenant_id: TenantId, limits: Mapping[LimitKey, Limits], *, prepaid: bool) -> None:
        self.tenant_id = tenant_id
        self.limits = limits
        self.prepaid = prepaid

    def applicable(self, subject: Subject) -> Applicable:
        """Return what holds for a subject: the limits of its tenant, its project, its key and its model."""
        ids = {
            Scope.TENANT: subject.tenant_id,
            Scope.PROJECT: subject.project_id,
            Scope.KEY: subject.key_id,
            Scope.MODEL: subject.model_id,
        }
        holding = [(key, each) for key, each in self.limits.items() if ids[key.scope] == key.scope_id]
        budgets = [BudgetKey(key, period) for key, each in holding for period, _ in each.budgets()]
        stopped = [BudgetKey(key, period) for key, each in holding for period, micros in each.budgets() if not micros]
        if self.prepaid:
            budgets.append(BudgetKey(operator_limit(self.tenant_id), Period.PREPAID))
        return Applicable(
            budgets=tuple(budgets),
            rates=tuple((RateKey(key, rate), limit) for key, each in holding for rate, limit in each.rates()),
            funded=any(each.limit.scope is Scope.TENANT and each.limit.set_by is SetBy.OPERATOR for each in budgets),
            stopped=stopped[0] if stopped else None,
        )

    def budget_limits(self) -> dict[BudgetKey, int]:
        """Return every budget that somebody set, in micros."""
        return {
            BudgetKey(key, period): micros for key, each in self.limits.items() for period, micros in each.budgets()
        }

    def rate_limits(self) -> dict[RateKey, int]:
        """Return every rate that is limited."""
        return {RateKey(key, rate): limit for key, each in self.limits.items() for rate, limit in each.rates()}


class LimitDirectory:
    """Every tenant's limits; nothing may be spent while none were set."""

    def __init__(self) -> None:
        self._tenants: dict[TenantId, TenantLimits] = {}
        self._applicable: dict[Subject, Applicable] = {}
        self._on_change: Callable[[TenantLimits, TenantLimits], None] | None = None

    def watch(self, on_change: Callable[[TenantLimits, TenantLimits], None]) -> None:
        """Have `on_change(before, after)` called for each tenant whose limits may have changed."""
        self._on_change = on_change

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's limits, or all."""
        limits, accounts = select(QuotaLimit), select(col(Account.tenant_id), col(Account.payment))
        if tenant_id is not None:
            limits = limits.where(col(QuotaLimit.tenant_id) == tenant_id)
            accounts = accounts.where(col(Account.tenant_id) == tenant_id)
        found: dict[TenantId, dict[LimitKey, Limits]] = {}
        for row in (await session.execute(limits)).scalars():
            found.setdefault(TenantId(row.tenant_id), {})[key_of(row)] = limits_of_row(row)
        loaded = {
            TenantId(row.tenant_id): TenantLimits(
                TenantId(row.tenant_id), found.get(TenantId(row.tenant_id), {}), prepaid=row.payment == Payment.PREPAID
            )
            for row in (await session.execute(accounts)).all()
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
        """Return what holds for a subject; remembered until limits change."""
        known = self._applicable.get(subject)
        if known is None:
            if len(self._applicable) >= _REMEMBERED_MAX:
                self._applicable.clear()
            known = self._applicable[subject] = self.of(subject.tenant_id).applicable(subject)
        return known


def key_of(row: QuotaLimit) -> LimitKey:
    """Return what a row's limits are about."""
    return LimitKey(SetBy(row.set_by), Scope(row.scope), row.scope_id)


def limits_of_row(row: QuotaLimit) -> Limits:
    """Return a row's limits."""
    return Limits(**{name: getattr(row, name) for name in Limits.model_fields})


def _none(tenant_id: TenantId) -> TenantLimits:
    return TenantLimits(tenant_id, {}, prepaid=False)
