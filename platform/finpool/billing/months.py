"""Months in UTC: the periods of invoices, commitments and membership fees."""

from datetime import UTC, datetime, timedelta


def month_of(moment: datetime) -> datetime:
    """Return the start of the moment's month (UTC)."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """Return the start of the month after the one that starts at `month`."""
    return month_of(month + timedelta(days=32))


def months_between(start: datetime, end: datetime) -> list[datetime]:
    """Return the starts of the months in [start, end); both are starts of months."""
    months = []
    while start < end:
        months.append(start)
        start = next_month(start)
    return months


def month_named(name: str) -> datetime:
    """Return the start of a month such as `2026-10`; raise ValueError for an invalid one."""
    return datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
