"""Periods of budgets in UTC, and the window of rates."""

from datetime import datetime, timedelta

from finpool.quota.schemas import BudgetKey, Period

WINDOW_SECONDS = 60.0
"""A rate holds in every window of this length."""

RATE_SHARE_SECONDS = 120.0
"""A replica stops using a share after this time without a renewal."""


def period_of(period: Period, at: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the start and the exclusive end of the period around `at` in UTC; None for a period without end."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            return day, day + timedelta(days=1)
        case Period.MONTH:
            month = day.replace(day=1)
            return month, (month + timedelta(days=32)).replace(day=1)
        case _:
            return None, None


def budget_id(key: BudgetKey, at: datetime) -> str:
    """Return the id of a budget in the period around `at`: `operator/tenant/bank-a/month/2026-11`."""
    start, _ = period_of(key.period, at)
    if start is None:
        return key.name
    return f"{key.name}/{start:%Y-%m-%d}" if key.period is Period.DAY else f"{key.name}/{start:%Y-%m}"
