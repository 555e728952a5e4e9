"""The usage of an invoice: sums over usage records and adjustments, computed in SQL for any number of rows.

A record belongs to the first invoice whose period ends after its admission and whose cutoff is not below its number. So
an invoice covers usage admitted since the end of the last one. It also covers late usage: admitted before that end, but
numbered above the last cutoff. Each half is one index range. Records of before that rule count at their settlement.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.errors import UsageDoesNotAddUp
from finpool.billing.invoice.lines import Charge, UnitPrices, UsageSum
from finpool.billing.invoice.schemas import LineKind
from finpool.catalogue.price import service as prices
from finpool.kernel.ids import TenantId

_OF_TENANT = "tenant_id = :tenant_id"
_SUMS = """
    date_trunc('month', counted, 'UTC') AS month, late, project_id, model_id, price_version, tier, currency,
    sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
    sum(output_tokens) AS output_tokens, sum(cost_picos) AS cost_picos
"""
_SPLIT = "GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2, 1, 3, 4, 5, 6, 7"
_MOMENT = "COALESCE(counted_at, settled_at)"
_COUNTED = f"""
    {_MOMENT} AS counted, project_id, model_id, price_version, tier, currency,
    input_tokens, cached_input_tokens, output_tokens, cost_picos
"""

_USAGE = text(f"""
    SELECT {_SUMS} FROM (
        SELECT false AS late, {_COUNTED} FROM usage_record
        WHERE {_OF_TENANT} AND outcome <> 'failed'
            AND {_MOMENT} >= COALESCE(CAST(:previous_end AS timestamptz), '-infinity') AND {_MOMENT} < :end
            AND usage_seq <= :seq
        UNION ALL
        SELECT true, {_COUNTED} FROM usage_record
        WHERE {_OF_TENANT} AND outcome <> 'failed'
            AND {_MOMENT} < CAST(:previous_end AS timestamptz)
            AND usage_seq > :previous_seq AND usage_seq <= :seq
    ) AS billed {_SPLIT}
""")  # noqa: S608 - put together from constants.

_ADJUSTED = f"""
    SELECT a.recorded_at AS counted, a.recorded_at < CAST(:previous_end AS timestamptz) AS late, a.adjustment_id,
        a.kind, a.project_id, a.model_id, a.price_version, COALESCE(u.tier, 'standard') AS tier, a.currency,
        a.input_tokens, a.cached_input_tokens, a.output_tokens, a.cost_picos,
        a.kind = 'correction' AND num_nulls(a.project_id, a.model_id, a.price_version) = 0
            AND u.outcome IS DISTINCT FROM 'failed' AS by_token
    FROM usage_adjustment a LEFT JOIN usage_record u USING (tenant_id, request_id)
    WHERE {_OF_TENANT} AND a.recorded_at < :end AND a.usage_seq <= :seq
        AND (a.recorded_at >= COALESCE(CAST(:previous_end AS timestamptz), '-infinity')
            OR a.usage_seq > :previous_seq)
"""  # noqa: S608 - as above.
_CORRECTIONS = text(f"SELECT {_SUMS} FROM ({_ADJUSTED}) AS adjusted WHERE by_token {_SPLIT}")  # noqa: S608 - as above.
_OTHERS = text(f"""
    SELECT date_trunc('month', counted, 'UTC') AS month, adjustment_id, kind, project_id, model_id, currency,
        cost_picos
    FROM ({_ADJUSTED}) AS adjusted WHERE NOT by_token AND cost_picos <> 0 ORDER BY counted, adjustment_id
""")  # noqa: S608 - as above.

_OLDEST = text(f"""
    SELECT LEAST(
        (SELECT min({_MOMENT}) FROM usage_record WHERE {_OF_TENANT}),
        (SELECT min(recorded_at) FROM usage_adjustment WHERE {_OF_TENANT})
    )
""")  # noqa: S608 - as above.


@dataclass(frozen=True, slots=True)
class BillingCutoff:
    """The coverage of one invoice: usage admitted before `end` and numbered up to `seq`, less the last coverage."""

    tenant_id: TenantId
    end: datetime
    seq: int
    previous_end: datetime | None
    previous_seq: int

    def parameters(self) -> dict[str, object]:
        """Return the values of the queries' parameters."""
        return {name: getattr(self, name) for name in self.__slots__}


async def oldest_usage(session: AsyncSession, tenant_id: TenantId) -> datetime | None:
    """Return the time of a tenant's first admitted request or adjustment, or None."""
    oldest: datetime | None = (await session.execute(_OLDEST, {"tenant_id": tenant_id})).scalar_one()
    return oldest


async def usage_sums(session: AsyncSession, cutoff: BillingCutoff, currency: str) -> list[UsageSum]:
    """Return the billed sums of usage, then of corrections; raise `UsageDoesNotAddUp` for another currency."""
    usage = (await session.execute(_USAGE, cutoff.parameters())).all()
    corrections = (await session.execute(_CORRECTIONS, cutoff.parameters())).all()
    _require_one_currency([*usage, *corrections], currency)
    return [_usage_sum(row, correction=row.late) for row in usage] + [
        _usage_sum(row, correction=True) for row in corrections
    ]


async def other_adjustments(session: AsyncSession, cutoff: BillingCutoff, currency: str) -> list[Charge]:
    """Return a charge for each adjustment of an amount without tokens: a lost spool's lease, an accepted dispute."""
    rows = (await session.execute(_OTHERS, cutoff.parameters())).all()
    _require_one_currency(rows, currency)
    return [
        Charge(
            kind=LineKind.LEASE_CHARGE if row.kind == "lease_charge" else LineKind.CREDIT,
            month=row.month,
            amount_picos=int(row.cost_picos),
            correction=True,
            project_id=row.project_id,
            model_id=row.model_id,
            reference=row.adjustment_id,
        )
        for row in rows
    ]


async def unit_prices(session: AsyncSession, price_versions: Collection[str]) -> dict[str, UnitPrices]:
    """Return the known token prices of the price versions."""
    known = await prices.price_versions(session, price_versions)
    return {
        name: UnitPrices(price.input_picos, price.cached_input_picos, price.output_picos)
        for name, price in known.items()
    }


def _require_one_currency(rows: Collection[Row[Any]], currency: str) -> None:
    if others := sorted({row.currency for row in rows} - {currency}):
        raise UsageDoesNotAddUp(f"there is usage in {', '.join(others)}, but invoices are in {currency}")


def _usage_sum(row: Row[Any], *, correction: bool) -> UsageSum:
    return UsageSum(
        month=row.month,
        correction=correction,
        project_id=row.project_id,
        model_id=row.model_id,
        price_version=row.price_version,
        tier=row.tier,
        input_tokens=int(row.input_tokens),
        cached_input_tokens=int(row.cached_input_tokens),
        output_tokens=int(row.output_tokens),
        cost_picos=int(row.cost_picos),
    )
