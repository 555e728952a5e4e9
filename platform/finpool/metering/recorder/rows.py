"""Settlements in Postgres: usage rows, their audit events and their prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit.schemas import Event
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.metering.spool.schemas import Settlement

_COLUMN_TYPES = {
    "tenant_id": "text",
    "request_id": "text",
    "project_id": "text",
    "key_id": "text",
    "model_id": "text",
    "weights_sha256": "text",
    "price_version": "text",
    "currency": "text",
    "input_tokens": "bigint",
    "cached_input_tokens": "bigint",
    "output_tokens": "bigint",
    "cost_picos": "numeric",
    "outcome": "text",
    "estimated": "boolean",
    "streamed": "boolean",
    "policy_version": "integer",
    "tier": "text",
    "queue_ms": "bigint",
    "spool_seq": "bigint",
    "started_at": "timestamptz",
    "settled_at": "timestamptz",
    "usage_seq": "bigint",
    "lease_ids": "text",
}
_SEPARATOR = ","

# One statement with a column per array: a statement per row costs several times as much. An array of arrays would lose
# its inner ends, so the leases of a row are one text.
_INSERT = text(f"""
    INSERT INTO usage_record ({", ".join(_COLUMN_TYPES)}, replica_id, recorded_at)
    SELECT {", ".join(name for name in _COLUMN_TYPES if name != "lease_ids")},
        string_to_array(lease_ids, '{_SEPARATOR}'), CAST(:replica_id AS text), CAST(:recorded_at AS timestamptz)
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMN_TYPES.items())})
        AS usage ({", ".join(_COLUMN_TYPES)})
""")  # noqa: S608 - the names are the constants above.


@dataclass(frozen=True, slots=True)
class Numbered:
    """A settlement with its number in the spool and its number among the tenant's usage."""

    spool_seq: int
    usage_seq: int
    settlement: Settlement


async def insert_usage(
    session: AsyncSession, replica_id: ReplicaId, usage: Sequence[Numbered], recorded_at: datetime
) -> None:
    """Insert usage records in one round trip."""
    rows = [_row(each) for each in usage]
    columns = {name: list(column) for name, column in zip(_COLUMN_TYPES, zip(*rows, strict=True), strict=True)}
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
    }
    return Event(kind="usage.recorded", tenant_id=TenantId(intent.tenant_id), actor=None, body=body)


def _row(usage: Numbered) -> tuple[object, ...]:
    """Return the values of one row, in the order of the columns."""
    settlement = usage.settlement
    intent = settlement.intent
    return (
        intent.tenant_id,
        intent.request_id,
        intent.project_id,
        intent.key_id,
        intent.model_id,
        intent.weights_sha256,
        intent.price_version,
        intent.currency,
        settlement.input_tokens,
        settlement.cached_input_tokens,
        settlement.output_tokens,
        settlement.cost_picos,
        settlement.outcome.value,
        settlement.estimated,
        intent.streamed,
        intent.policy_version,
        intent.tier,
        settlement.queue_ms,
        usage.spool_seq,
        datetime.fromisoformat(intent.started_at),
        datetime.fromisoformat(settlement.settled_at),
        usage.usage_seq,
        _SEPARATOR.join(intent.lease_ids),
    )
