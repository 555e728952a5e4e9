"""Times in request bodies are text with a zone."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from finpool.kernel.written_time import WrittenTime

TIME: TypeAdapter[datetime] = TypeAdapter(WrittenTime)


@pytest.mark.parametrize(
    "written",
    ["2026-01-31T08:00:00Z", "2026-01-31T16:00:00+08:00", "2026-01-31T08:00Z", "2026-01-31 08:00:00.000000z"],
)
def test_a_time_with_its_zone_is_taken(written: str) -> None:
    assert TIME.validate_python(written) == datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [1_769_846_400, 1_769_846_400_000.0, "1769846400", "2026-01-31", "2026-01-31T08:00:00", "20260131T080000Z", True],
)
def test_a_number_and_a_time_without_a_zone_are_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="a time with its zone"):
        TIME.validate_python(written)


@pytest.mark.parametrize("written", ["2026-02-30T08:00:00Z", "2026-01-31T25:00:00Z"])
def test_a_moment_that_does_not_exist_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        TIME.validate_python(written)
