"""Fields of usage queries that accept several notations."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

MOMENT_FORMS = "an ISO date (2026-01-31), an ISO time with its zone (write + as %2B), or Unix seconds"
UNIX_SECONDS_MAX = 253_402_214_400
"""The first second of the last day that a date can name."""

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_UNIX_SECONDS = re.compile(r"^\d{1,12}$")


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        if _UNIX_SECONDS.match(value):
            return datetime.fromtimestamp(min(int(value), UNIX_SECONDS_MAX), UTC)
        moment = datetime.fromisoformat(value)
        if _DATE.match(value):
            return moment.replace(tzinfo=UTC)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", f"must be {MOMENT_FORMS}") from None
    raise PydanticCustomError("moment", f"must be {MOMENT_FORMS}")


def _names(value: object) -> object:
    """Return the names split at commas, in order, without blanks and repetitions."""
    if not isinstance(value, list):
        return value
    return list(dict.fromkeys(name for part in value for name in str(part).split(",") if name))


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [{"format": "date"}, {"format": "date-time"}, {"pattern": r"^[0-9]{1,12}$"}],
        }
    ),
]
"""An aware time in UTC."""

BucketLimit = Annotated[int | None, Field(json_schema_extra={"maximum": 1_440})]
"""Buckets on a page; documented with the bound of the shortest width, because a refusal names that of its own."""

SplitAtCommas = BeforeValidator(_names)
"""For lists written as `a,b` or as repeated fields."""
