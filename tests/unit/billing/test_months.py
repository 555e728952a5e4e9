"""Months, in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.months import month_named, month_of, months_between, next_month


def test_a_moment_belongs_to_the_month_of_utc_wherever_its_clock_stands() -> None:
    in_shanghai = datetime(2026, 2, 1, 7, 59, tzinfo=timezone(timedelta(hours=8)))
    assert month_of(in_shanghai) == datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.timedeltas(timedelta(0), timedelta(days=30_000)).map(lambda passed: datetime(2020, 1, 1, tzinfo=UTC) + passed)
)
def test_a_month_ends_where_the_next_one_begins(moment: datetime) -> None:
    month = month_of(moment)
    assert month <= moment < next_month(month)
    assert next_month(month).day == 1
    assert months_between(month, next_month(next_month(month))) == [month, next_month(month)]


def test_a_name_is_read_as_the_month_it_names_and_nothing_else() -> None:
    assert month_named("2026-12") == datetime(2026, 12, 1, tzinfo=UTC)
    assert months_between(month_named("2026-12"), month_named("2026-12")) == []
    with pytest.raises(ValueError, match="remains"):
        month_named("2026-13")
