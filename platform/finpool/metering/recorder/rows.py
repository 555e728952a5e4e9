"""Settlements in Postgres: usage rows, their audit events and their prices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit.schemas import Event
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.metering.models import UsageRecord
from finpool.metering.spool.schemas import Intent, Settlement


@dataclass(frozen=True, slots=True)
class Numbered:
    """A settlement with its number in the spool and its number among the tenant's usage."""

    spool_seq: int
    usage_seq: int
    settlement: Settlement


def _column_type(column: ColumnElement[Any]) -> str:
    """Return the SQL type of a column's array; the leases of a row are sent as one text."""
    return "text" if isinstance(column.type, ARRAY) else column.type.compile(postgresql.dialect())  # type: ignore[no-untyped-call]


def _path_to(column: str) -> str:
    """Return the attribute path of a column in a numbered settlement; the last attribute has the column's name."""
    for holder, path in (
        (Numbered, column),
        (Settlement, f"settlement.{column}"),
        (Intent, f"settlement.intent.{column}"),
    ):
        if column in {each.name for each in fields(holder)} or isinstance(getattr(holder, column, None), property):
            return path
    raise TypeError(f"no settlement has the column usage_record.{column}")


_SEPARATOR = ","
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "started_at": datetime.fromisoformat,
    "settled_at": datetime.fromisoformat,
    "counted_at": datetime.fromisoformat,
    "lease_ids": _SEPARATOR.join,
}
_OF_RECORDING = ("replica_id", "recorded_at")
_COLUMNS = [each for each in UsageRecord.metadata.tables["usage_record"].columns if each.name not in _OF_RECORDING]
_TYPES = {each.name: _column_type(each) for each in _COLUMNS}
_READERS = {each.name: attrgetter(_path_to(each.name)) for each in _COLUMNS}

# One statement with a column per array: a statement per row costs several times as much. An array of arrays would lose
# its inner ends, so the leases of a row are one text.
_INSERT = text(f"""
    INSERT INTO usage_record ({", ".join(_TYPES)}, replica_id, recorded_at)
    SELECT {", ".join(f"string_to_array({each}, '{_SEPARATOR}')" if each == "lease_ids" else each for each in _TYPES)},
        CAST(:replica_id AS text), CAST(:recorded_at AS timestamptz)
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _TYPES.items())})
        AS usage ({", ".join(_TYPES)})
""")  # noqa: S608 - the names are those of the table's columns.


async def insert_usage(
    session: AsyncSession, replica_id: ReplicaId, usage: Sequence[Numbered], recorded_at: datetime
) -> None:
    """Insert usage records in one round trip."""
    columns = {name: list(map(read, usage)) for name, read in _READERS.items()}
    for name, convert in _CONVERSIONS.items():
        columns[name] = list(map(convert, columns[name]))
    await session.execute(_INSERT, {**columns, "replica_id": replica_id, "recorded_at": recorded_at})


def price_of(settlement: Settlement) -> TokenPrice:
    """Return the price of the request."""
    intent = settlement.intent
    return TokenPrice(
        price_version=intent.price_version,
        model_id=intent.model_id,
        currency=intent.currency,
        input_picos=intent.input_picos,
        cached_input_picos=intent.cached_input_picos,
        output_picos=intent.output_picos,
    )


def event_of(settlement: Settlement) -> Event:
    """Return the audit event of a request's usage."""
    intent = settlement.intent
    body = {
        "request_id": intent.request_id,
        "project_id": intent.project_id,
        "key_id": intent.key_id,
        "model_id": intent.model_id,
        "weights_sha256": intent.weights_sha256,
        "price_version": intent.price_version,
        "policy_version": intent.policy_version,
        "input_tokens": settlement.input_tokens,
        "cached_input_tokens": settlement.cached_input_tokens,
        "output_tokens": settlement.output_tokens,
        "cost_picos": str(settlement.cost_picos),
        "currency": intent.currency,
        "outcome": settlement.outcome.value,
        "estimated": settlement.estimated,
        "started_at": intent.started_at,
        "settled_at": settlement.settled_at,
        "counted_at": intent.counted_at,
        "operation": intent.operation,
    }
    return Event(kind="usage.recorded", tenant_id=TenantId(intent.tenant_id), actor=None, body=body)
