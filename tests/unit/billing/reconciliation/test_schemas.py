"""The accepted queries of a reconciliation."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from finpool.billing.reconciliation.schemas import ReconciliationQuery

START = datetime(2025, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("written", ["2025-01-31", "2025-01-31T00:00:00Z", "2025-01-31T08:00:00+08:00", "1738281600"])
def test_a_range_begins_at_a_date_a_time_or_a_unix_second(written: str) -> None:
    assert ReconciliationQuery.model_validate({"from": written}).start == START


@pytest.mark.parametrize("written", ["0.5", "-1", "1e3", "2025-01-31T00:00:00", "1738281600000000", "soon", ""])
def test_other_notations_are_refused_as_in_queries_of_usage(written: str) -> None:
    with pytest.raises(ValidationError, match="ISO date"):
        ReconciliationQuery.model_validate({"from": written})
